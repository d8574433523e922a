"""A trial that was stopped goes on from its checkpoint to the same bits, whatever its model carries along."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule
from torch import nn

from rnnae_bench.errors import UserError
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.probes import OptimizerSteps
from rnnae_bench.records.store import Store
from rnnae_bench.training.lightning import errors_only
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

errors_only()

ALWAYS = 1e-9
"""Seconds between checkpoints: one wherever there can be one."""


class Twofold(LightningModule):
    """Another's model: no base class of ours, two optimisers by hand, a generator, and states in attributes."""

    def __init__(self, spec, units: int = 4, **options) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.embedding, self.head = nn.Embedding(spec.inputs.vocabulary, units), nn.Linear(units, spec.outputs.count)
        self.dropout = nn.Dropout(0.1)
        self.noise = torch.Generator().manual_seed(1)
        self.register_buffer("mean", torch.zeros(units), persistent=False)
        self.seen, self.norms = 0, []

    def forward(self, inputs, lengths=None):
        return self.head(self.dropout(self.embedding(inputs)).cumsum(1) - self.mean)

    def training_step(self, batch, batch_idx):
        loss = self.trainer.datamodule.loss(self(batch.inputs, batch.lengths), batch)
        self.manual_backward(loss * (1 + 0.1 * torch.rand((), generator=self.noise) + 0.1 * np.random.rand()))
        self.seen += len(batch.inputs)
        self.mean += 1e-3 * self.embedding.weight.detach().mean(0) * self.seen**0.1
        self.norms = [*self.norms[-3:], self.head.weight.detach().norm()]
        if batch_idx % 2:
            for optimizer in self.optimizers():
                optimizer.step()
                optimizer.zero_grad()
            self.lr_schedulers().step()
        return loss.detach() + sum(self.norms)

    def validation_step(self, batch, batch_idx):
        return self(batch.inputs, batch.lengths)

    test_step = validation_step

    def configure_optimizers(self):
        one, two = (torch.optim.Adam(part.parameters(), lr=1e-2) for part in (self.embedding, self.head))
        return [one, two], [torch.optim.lr_scheduler.ExponentialLR(one, 0.99)]


class HeadTrained(GRU):
    """Trains its head alone: the gradients of all else add up, since no optimiser clears them, and are measured too."""

    measures_gradient_norms = False

    def configure_optimizers(self):
        return torch.optim.Adam(self.head.parameters(), lr=1e-2)


def trial(model="gru", trainer=None, **options) -> Trial:
    pair = Pair("copy:smoke", "gru")
    if isinstance(model, type):
        pair.model_class = model
    return Trial(
        pair,
        pair.resolve(
            {
                "task": {"protocol": {"max_steps": 12, "evaluate_every": 4}},
                "model": {"hidden_size": 4, **options},
                "trainer": {"accelerator": "cpu"} | (trainer or {}),
            }
        ),
        seed=0,
    )


class StopAt(OptimizerSteps):
    """Stops the trial in the midst of a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_optimizer_step_start(self, trainer, pl_module, step, batch):
        if step == self._step:
            raise KeyboardInterrupt


def assert_same(one, two) -> None:
    """Of two outcomes: all numbers but times and memory, to the bit."""
    assert one.record.metrics == two.record.metrics
    assert one.series.keys() == two.series.keys()
    for name, series in one.series.items():
        np.testing.assert_array_equal(series.steps, two.series[name].steps, name)
        np.testing.assert_array_equal(series.values, two.series[name].values, name)
    own, other = (
        {
            name: value
            for name, value in each.record.measures.by_name.items()
            if "second" not in name and "mem" not in name
        }
        for each in (one, two)
    )
    assert own == other


WAYS = {
    "in blocks, with dropout": lambda: trial(layers=2, dropout=0.3),
    "by Lightning, two batches a step, only its head": lambda: trial(
        HeadTrained, trainer={"accumulate_grad_batches": 2}
    ),
    "another's, by hand": lambda: trial(Twofold),
}


@pytest.mark.parametrize("made", WAYS.values(), ids=WAYS)
def test_a_trial_goes_on_to_the_same_bits(made, tmp_path):
    whole, store, told = made().run(Store(tmp_path / "whole"), []), Store(tmp_path / "stopped"), []
    assert whole.record.status == "ok", whole.record.failure
    for step in (1, 7, 9):
        stopped = made().run(store, [], [StopAt(step)], checkpoint_every=ALWAYS, tell=told.append)
        assert stopped.record.status == "interrupted"
        kept = store.checkpoints.read(stopped.record.id).step
        assert stopped.record.failure.message.endswith(f"goes on from its checkpoint of step {kept}")
        assert 0 <= step - 1 - kept < 4
    resumed = made().run(store, [], checkpoint_every=ALWAYS, tell=told.append)
    assert_same(whole, resumed)
    assert len(told) == 3
    assert told[-1] == f"it goes on from its checkpoint of step {kept}"
    assert store.find(resumed.record.id).environment.resumed[-1] == kept
    assert resumed.record.measures.training_seconds > 0
    assert not store.checkpoints.identities()


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from test_checkpointing import ALWAYS, StopAt, Store, trial
class Kill(StopAt):
    def on_optimizer_step_start(self, trainer, pl_module, step, batch):
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)
trial().run(Store(Path({out!r})), [], [Kill(10)], flush_every=0.0, checkpoint_every=ALWAYS)
"""


def test_a_killed_process_is_gone_on_from(tmp_path):
    out = tmp_path / "killed"
    source = KILLED.format(tests=str(Path(__file__).parent), out=str(out))
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    store = Store(out)
    store.tidy()
    assert store.drafts.identities() == store.checkpoints.identities() == [trial().identity]
    resumed = trial().run(store, [], flush_every=0.0, checkpoint_every=ALWAYS)
    assert resumed.record.environment.resumed == [8]
    assert_same(trial().run(Store(tmp_path / "whole"), []), resumed)
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == sorted(
        [f"{trial().identity}.json", f"{trial().identity}.parquet", resumed.record.samples.file]
    )


class SignalAt(OptimizerSteps):
    """Asks the process to stop, as a scheduler does."""

    def __init__(self, number: int) -> None:
        self._number = number

    def on_optimizer_step(self, trainer, pl_module, step, loss, batch):
        if step == 6:
            signal.raise_signal(self._number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_waits_for_the_checkpoint(number, tmp_path):
    store = Store(tmp_path)
    stopped = trial().run(store, [], [SignalAt(number)], checkpoint_every=3600.0)
    name = signal.Signals(number).name
    message = f"stopped by {name} at step 8; the same command goes on from its checkpoint of step 8"
    assert (stopped.record.status, stopped.record.failure.message) == ("interrupted", message)
    assert trial().run(store, [], checkpoint_every=3600.0).record.environment.resumed == [8]


def test_a_signal_does_not_wait_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnae_bench.trial.checkpointing.GRACE_SECONDS", -1.0)
    stopped = trial().run(Store(tmp_path), [], [SignalAt(signal.SIGTERM)], checkpoint_every=3600.0)
    message = "stopped by SIGTERM at step 7; the same command goes on from its checkpoint of step 0"
    assert stopped.record.failure.message == message


def edited(content: bytes, **changes) -> bytes:
    line, _, state = content.partition(b"\n")
    return json.dumps({**json.loads(line), **changes}).encode() + b"\n" + state


FOREIGN = {
    "it is no checkpoint of rnnae-bench": lambda content: b"\x80\x04 a pickle of somebody's",
    "it is damaged": lambda content: content[:-1],
    "it is of trial 0000000000000000": lambda content: edited(content, id="0" * 16),
    "torch was 0.1 there and is": lambda content: edited(
        content, made_by={**json.loads(content.partition(b"\n")[0])["made_by"], "torch": "0.1"}
    ),
}


def test_a_checkpoint_that_is_not_this_trials_is_not_used(tmp_path):
    store, told = Store(tmp_path), []
    identity = trial().run(store, [], [StopAt(7)], checkpoint_every=ALWAYS).record.id
    path = store.checkpoints.path(identity)
    content = path.read_bytes()
    for reason, change in FOREIGN.items():
        path.write_bytes(change(content))
        anew = trial().run(store, [], [StopAt(1)], checkpoint_every=ALWAYS, tell=told.append)
        assert anew.record.environment.resumed == []
        assert reason in told[-1]
        assert told[-1].endswith("; it starts anew")
        assert "\n" not in told[-1]


class NumpyNoise(Twofold):
    """Draws from a generator that a checkpoint can't hold."""

    def __init__(self, spec, **options) -> None:
        super().__init__(spec)
        self.noise = np.random.default_rng(0)


class Patient(GRU):
    """Has a schedule that waits for a plateau."""

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters())
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "loss"}}


class Secretive(Twofold):
    """Adds to Lightning's checkpoints what is no plain data."""

    def on_save_checkpoint(self, checkpoint):
        checkpoint["secret"] = StopAt(0)


@pytest.mark.parametrize(
    ("model", "reason"),
    [(NumpyNoise, "is not torch's"), (Patient, "waits for a plateau"), (Secretive, "more than tensors and plain data")],
)
def test_what_can_not_be_kept_is_refused_before_the_first_step(model, reason, tmp_path):
    record = trial(model).run(Store(tmp_path), [], checkpoint_every=ALWAYS).record
    assert (record.status, record.measures.steps) == ("error", 0)
    assert reason in record.failure.message
    assert "leave" in record.failure.message


def test_a_place_in_others_data_is_refused(tmp_path):
    made = trial()
    made.task.__class__ = type("Own", (type(made.task),), {"train_dataloader": lambda self: None})
    with pytest.raises(UserError, match="which has a train_dataloader of its own"):
        made.run(Store(tmp_path), [], checkpoint_every=ALWAYS)
    assert not list(tmp_path.iterdir())
