"""K tasks as one: batches side by side, losses member by member."""

from functools import partial

import pytest
import torch
from rnnae_tasks.copy.datamodule import CopyTask
from rnnae_tasks.names.datamodule import NamesTask

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.metrics import cross_entropy
from rnnae_bench.probes.last_step import last_step_loss
from rnnae_bench.trial.vectorized.task import VectorizedTask

PROTOCOL = Protocol(max_steps=4, batch_size=3, evaluate_every=2)


def copies(*data_seeds: int, task_class: type[CopyTask] = CopyTask) -> VectorizedTask:
    tasks = [task_class(2, 2, evaluation_size=5, protocol=PROTOCOL, data_seed=seed) for seed in data_seeds]
    return VectorizedTask(tasks)


class MaskedCopy(CopyTask):
    """The copy task, scored at some steps of each row."""

    def sequences(self, count, generator):
        batch = super().sequences(count, generator)
        return batch._replace(mask=torch.rand(batch.targets.shape, generator=generator) < 0.5)

    def loss(self, prediction, batch):
        return cross_entropy(prediction, batch)


def test_a_batch_holds_those_of_all_members():
    task = copies(4, 5, 4)
    batch = task.train_batch(1)
    for member, own in enumerate(task.tasks):
        alone = own.train_batch(1)
        assert torch.equal(batch.inputs[member], alone.inputs)
        assert torch.equal(batch.targets[member], alone.targets)
    assert not torch.equal(batch.inputs[0], batch.inputs[1])


def test_shorter_sequences_are_padded_to_the_longest_of_all_members():
    tasks = [NamesTask.from_variant("smoke", protocol=PROTOCOL, data_seed=seed) for seed in range(4)]
    alone = [task.train_batch(0) for task in tasks]
    assert len({batch.inputs.shape[1] for batch in alone}) > 1
    batch = VectorizedTask(tasks).train_batch(0)
    assert batch.inputs.shape[2] == max(own.inputs.shape[1] for own in alone)
    for member, own in enumerate(alone):
        assert torch.equal(batch.lengths[member], own.lengths)
        assert torch.equal(batch.inputs[member, :, : own.inputs.shape[1]], own.inputs)
        assert not batch.inputs[member, :, own.inputs.shape[1] :].any()


@pytest.mark.parametrize("task_class", [CopyTask, MaskedCopy])
@pytest.mark.parametrize("last_step", [False, True])
def test_losses_and_their_gradients_are_those_of_each_member(task_class, last_step):
    task = copies(0, 1, task_class=task_class)
    batch = task.train_batch(0)
    assert (batch.mask is None) == (task_class is CopyTask)
    prediction = torch.randn(2, 3, 6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prediction.requires_grad_()
    if last_step:
        found = task.each(partial(last_step_loss, task.first), prediction, batch)
    else:
        found = task.loss(prediction, batch)
    (gradient,) = torch.autograd.grad(found.sum(), prediction)
    for member, own in enumerate(task.tasks):
        answer = prediction.detach()[member].requires_grad_()
        alone = (partial(last_step_loss, own) if last_step else own.loss)(answer, own.train_batch(0))
        torch.testing.assert_close(found[member], alone, rtol=1e-12, atol=0)
        (expected,) = torch.autograd.grad(alone, answer)
        torch.testing.assert_close(gradient[member], expected, rtol=1e-12, atol=1e-15)
