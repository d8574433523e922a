"""K tasks as one: batches side by side, losses member by member, answers to the same rows."""

import torch
from rnnae_tasks.copy.datamodule import CopyTask
from rnnae_tasks.names.datamodule import NamesTask
from rnnae_tasks.sine.datamodule import SineTask

from rnnae_bench.card import Protocol
from rnnae_bench.task import Batch
from rnnae_bench.vectorized.task import VectorizedTask

PROTOCOL = Protocol(max_steps=4, batch_size=3, evaluate_every=2)


def copies(*data_seeds: int) -> VectorizedTask:
    return VectorizedTask([CopyTask(2, 2, evaluation_size=5, protocol=PROTOCOL, data_seed=seed) for seed in data_seeds])


def test_a_batch_holds_those_of_all_members():
    task = copies(4, 5, 4)
    batch = task.train_batch(1)
    for member, own in enumerate(task.tasks):
        alone = own.train_batch(1)
        assert torch.equal(batch.inputs[member], alone.inputs)
        assert torch.equal(batch.targets[member], alone.targets)
    assert not torch.equal(batch.inputs[0], batch.inputs[1])


def test_members_with_one_data_seed_share_the_memory():
    batch = copies(4, 4).train_batch(0)
    assert batch.inputs.shape == (2, 3, 6)
    assert batch.inputs[0].data_ptr() == batch.inputs[1].data_ptr()


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


def test_an_objective_that_looks_at_numbers_is_computed_member_by_member():
    task = copies(0, 1)
    batch = task.train_batch(0)
    prediction = torch.randn(2, 3, 6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prediction.requires_grad_()
    in_one = task.loss(prediction, batch)
    (expected,) = torch.autograd.grad(in_one.sum(), prediction)
    calls = []

    def looks(answer, own):
        calls.append(answer.sum().item())
        return task.first.loss(answer, own)

    found = task.each(looks, prediction, batch)
    torch.testing.assert_close(found, in_one, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), prediction)[0], expected, rtol=1e-12, atol=1e-15)
    assert len(calls) == 2
    for member in range(2):
        alone = task.first.loss(prediction[member], Batch(batch.inputs[member], batch.targets[member]))
        torch.testing.assert_close(in_one[member], alone, rtol=1e-12, atol=0)


def test_answers_are_those_of_each_member_whatever_the_number_of_rows_at_once(monkeypatch):
    tasks = [SineTask.from_variant("smoke", horizon=3, data_seed=seed) for seed in range(2)]
    task = VectorizedTask(tasks)
    slopes = torch.tensor([0.5, 2.0])

    def together(inputs, lengths):
        return inputs[..., -1, :] * slopes.view(-1, 1, 1)

    batch = task.evaluation_set("test").rows(slice(0, 11))
    whole = task.predict(together, batch)
    for member, slope in enumerate(slopes):
        alone = tasks[member].predict(lambda inputs, lengths, slope=slope: inputs[:, -1] * slope, batch)
        torch.testing.assert_close(whole[member], alone)
    monkeypatch.setattr("rnnae_bench.vectorized.task._ROWS", 7)
    torch.testing.assert_close(task.predict(together, batch), whole)
