"""Training in blocks and training by Lightning's own loop: the same steps, the same numbers, the same calls."""

import logging
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Callback
from rnnae_tasks.copy.datamodule import CopyTask

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.probes import OptimizerSteps
from rnnae_bench.records.record import Failure
from rnnae_bench.records.store import Store
from rnnae_bench.training.blocks import Blocks
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def trial(blocks: bool = True, model_class: type | None = None, evaluate_every: int = 4, **changes) -> Trial:
    pair = Pair("copy:smoke", "gru")
    if model_class is not None:
        pair.model_class = model_class
    options = {
        "task": {"protocol": {"max_steps": 10, "evaluate_every": evaluate_every}},
        "model": {"hidden_size": 4, **changes.pop("model", {})},
        "trainer": {"accelerator": "cpu"} | changes.pop("trainer", {}),
    }
    made = Trial(pair, pair.resolve(options), seed=0, **changes)
    if not blocks:
        made.blocks = None
    return made


class Watch(OptimizerSteps):
    """Notes every call, and the weights at the end."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.weights = torch.empty(0)

    def on_optimizer_step_start(self, trainer, pl_module, step, batch):
        self.calls.append(("start", step, trainer.global_step, batch.inputs.sum().item()))

    def on_optimizer_step(self, trainer, pl_module, step, loss, batch):
        assert not loss.requires_grad
        gradient = torch.nn.utils.parameters_to_vector([weight.grad for weight in pl_module.parameters()])
        autocast = torch.is_autocast_enabled("cpu")
        inputs = batch.inputs.sum().item()
        self.calls.append(("done", step, trainer.global_step, inputs, loss.item(), gradient.norm().item(), autocast))

    def on_train_end(self, trainer, pl_module):
        self.weights = torch.nn.utils.parameters_to_vector(pl_module.parameters()).detach().clone()


def run(made: Trial, folder, *callbacks):
    outcome = made.run(Store(folder), ["x"], callbacks)
    assert outcome is not None
    return outcome


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"optimization": {"clip": 0.1}}},
        {"model": {"optimization": {"clip": 0.01, "clip_by": "value", "weight_decay": 0.1}}},
        {"model": {"optimization": {"clip": 0.0}, "layers": 2, "dropout": 0.5}},
        {"trainer": {"precision": "bf16-mixed"}},
        {"trainer": {"precision": "64-true"}},
    ],
    ids=["norm", "value", "dropout", "bf16-mixed", "64-true"],
)
def test_both_ways_give_the_same_bits(changes, tmp_path):
    ends = []
    for blocks in (True, False):
        watch, made = Watch(), trial(blocks, **changes)
        assert (made.blocks is not None) is blocks
        outcome = run(made, tmp_path / str(blocks), watch)
        assert outcome.record.status == "ok", outcome.record.failure
        ends.append((watch, outcome))
    (one, first), (two, second) = ends
    assert torch.equal(one.weights, two.weights)
    assert one.calls == two.calls
    assert [call[:3] for call in one.calls[:3]] == [("start", 1, 0), ("done", 1, 1), ("start", 2, 1)]
    assert len(one.calls) == 20
    assert first.series.keys() == second.series.keys()
    assert {"loss", "learning_rate", "gradient_norm", "gradient_norm_clipped"} < first.series.keys()
    assert first.series["validation/loss"].steps.tolist() == [4, 8]
    for name, series in first.series.items():
        np.testing.assert_array_equal(series.steps, second.series[name].steps)
        np.testing.assert_array_equal(series.values, second.series[name].values)
    assert first.record.metrics == second.record.metrics
    assert first.record.id == second.record.id
    assert first.record.measures.steps == second.record.measures.steps == 10


@pytest.mark.parametrize(("clip", "by"), [(0.0, "norm"), (0.1, "norm"), (0.01, "value")])
def test_the_norms_kept_at_clipping_are_those_measured_around_it(clip, by, tmp_path, monkeypatch):
    changes = {"model": {"optimization": {"clip": clip, "clip_by": by}}}
    kept, watched = Watch(), Watch()
    first = run(trial(**changes), tmp_path / "kept", kept)
    monkeypatch.setattr(BenchModule, "measures_gradient_norms", False)
    second = run(trial(**changes), tmp_path / "measured", watched)
    assert torch.equal(kept.weights, watched.weights)
    for name, series in first.series.items():
        np.testing.assert_allclose(series.values, second.series[name].values, rtol=1e-6)
    clipped = first.record.measures.clipped_fraction
    assert clipped == second.record.measures.clipped_fraction
    assert (clipped > 0) == bool(clip)
    # What the optimiser got, as the watching callback saw it.
    seen = [call[5] for call in kept.calls if call[0] == "done"]
    np.testing.assert_allclose(first.series["gradient_norm_clipped"].values, seen, rtol=1e-5)


class OwnTrainingStep(GRU):
    """A model that takes one batch a call."""

    def training_step(self, batch, batch_idx):
        return 2 * super().training_step(batch, batch_idx)


class OwnLoss(GRU):
    """A model with a loss of its own."""

    def training_loss(self, batch):
        return 2 * super().training_loss(batch)


def test_a_loss_of_ones_own_is_minimised_both_ways(tmp_path):
    outcomes = [
        run(trial(model_class=model_class), tmp_path / model_class.__name__)
        for model_class in (OwnLoss, OwnTrainingStep, GRU)
    ]
    own, step, plain = [outcome.series["loss"].values for outcome in outcomes]
    np.testing.assert_array_equal(own, step)
    assert own[0] == 2 * plain[0]


class OwnLoader(CopyTask):
    """A task that hands its batches over by itself."""

    def train_dataloader(self):
        return super().train_dataloader()


def test_who_trains_in_blocks():
    assert trial().blocks is not None
    assert trial(model_class=OwnLoss).blocks is not None
    assert trial(model_class=OwnTrainingStep).blocks is None
    assert trial(trainer={"accumulate_grad_batches": 2}).blocks is None
    assert trial(trainer={"gradient_clip_val": 0.5}).blocks is None
    assert CopyTask.can_give_blocks()
    assert not OwnLoader.can_give_blocks()


@pytest.mark.parametrize("options", [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 0.01}])
def test_what_lightning_alone_can_do_it_does(options, tmp_path):
    watch = Watch()
    outcome = run(trial(trainer=options), tmp_path, watch)
    assert outcome.record.status == "ok"
    assert [call[1] for call in watch.calls if call[0] == "start"] == list(range(1, 11))
    assert [call[1] for call in watch.calls if call[0] == "done"] == list(range(1, 11))
    assert outcome.series["validation/loss"].steps.tolist() == [4, 8]
    if "gradient_clip_val" in options:
        assert outcome.series["gradient_norm_clipped"].values.max() <= 0.01 * (1 + 1e-6)
        assert outcome.record.measures.clipped_fraction == 1


def test_the_short_cuts_past_lightning_lead_to_the_same(tmp_path, monkeypatch):
    watches = [Watch(), Watch()]
    run(trial(), tmp_path / "short", watches[0])
    monkeypatch.setattr("rnnae_bench.training.block_loop.PassThroughProfiler", type(None))
    run(trial(), tmp_path / "long", watches[1])
    assert watches[0].calls == watches[1].calls
    assert torch.equal(watches[0].weights, watches[1].weights)


class Backward(Callback):
    """Counts backward passes."""

    before = after = 0

    def on_before_backward(self, trainer, pl_module, loss):
        self.before += 1

    def on_after_backward(self, trainer, pl_module):
        self.after += 1


def test_callbacks_on_the_backward_pass_are_called_in_blocks(tmp_path):
    backward, watch, alone = Backward(), Watch(), Watch()
    run(trial(), tmp_path / "watched", backward, watch)
    run(trial(), tmp_path / "alone", alone)
    assert (backward.before, backward.after) == (10, 10)
    assert torch.equal(watch.weights, alone.weights)


class Stop(OptimizerSteps):
    """Stops the trial at the end of its sixth step, in the middle of a block."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_optimizer_step(self, trainer, pl_module, step, loss, batch):
        if step == 6:
            if self.how == "Ctrl-C":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_a_stop_within_a_block_is_at_once_and_exact(how, tmp_path):
    made = trial(evaluate_every=10)
    assert any(steps.start < 6 < steps.stop for steps in made.blocks)
    outcome = run(made, tmp_path, Stop(how))
    assert outcome.record.status == "interrupted"
    assert outcome.record.failure == Failure(message=f"stopped by {how} at step 6", step=6, traceback=None)
    assert outcome.series["gradient_norm"].steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert outcome.record.measures.steps == 6


class TurnsToNaN(GRU):
    """A model whose loss is no number from its seventh step on."""

    def training_loss(self, batch):
        loss = super().training_loss(batch)
        return loss * float("nan") if self.trainer.global_step >= 6 else loss


def test_divergence_within_a_block_has_its_step(tmp_path):
    outcome = run(trial(model_class=TurnsToNaN), tmp_path)
    assert outcome.record.status == "diverged"
    assert outcome.record.failure.step == 7


@pytest.mark.parametrize("max_steps", [1, 5, 8, 33, 100, 250, 400, 5000, 5001])
@pytest.mark.parametrize("evaluate_every", [1, 2, 4, 7, 32, 33, 50, 250, 251, 1000])
def test_blocks_cover_all_steps_and_a_look_falls_where_the_protocol_says(max_steps, evaluate_every):
    blocks = Blocks(max_steps, evaluate_every)
    cut = list(blocks)
    assert [step for steps in cut for step in steps] == list(range(max_steps))
    assert all(cut)
    # Lightning looks after every so many blocks.
    looks = [steps.stop for number, steps in enumerate(cut, 1) if number % blocks.per_evaluation == 0]
    assert looks == list(range(evaluate_every, max_steps + 1, evaluate_every))
    assert max(map(len, cut)) <= 2 * blocks.longest
    if max_steps % evaluate_every == 0:
        assert max(map(len, cut)) <= blocks.longest
        assert len(cut) <= 2 * max_steps / min(blocks.longest, evaluate_every)


def same(one, two) -> bool:
    return all(a is b or torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(("rank", "devices"), [(0, 1), (1, 2)])
def test_blocks_hold_the_training_batches_of_their_steps(rank, devices):
    task = CopyTask(delay=2, recall=2, evaluation_size=8, protocol=Protocol(10, 4, 4))
    task.trainer = SimpleNamespace(global_rank=rank, world_size=devices)
    wanted = [task.train_batch(step).rows(slice(rank, None, devices)) for step in range(10)]
    loader = iter(task.train_dataloader())
    singles = [next(loader) for _ in range(10)]
    task.blocks = Blocks(10, 4, longest=2)
    blocks = list(task.train_dataloader())
    assert [len(block) for block in blocks] == [2, 2, 2, 2, 2]
    for got in (singles, [batch for block in blocks for batch in block]):
        assert len(got) == 10
        assert all(map(same, got, wanted))
