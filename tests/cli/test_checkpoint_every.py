"""`--checkpoint-every` of `run` and `sweep`: what a stopped process left is gone on from."""

import pytest

from rnnae_bench.cli import main
from rnnae_bench.probes import OptimizerSteps
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

PROTOCOL = {"max_steps": 8, "evaluate_every": 4}


class Stop(OptimizerSteps):
    """Stops a trial in the midst of step 6."""

    def on_optimizer_step_start(self, trainer, pl_module, step, batch):
        if step == 6:
            raise KeyboardInterrupt


@pytest.fixture
def stopped(tmp_path) -> Store:
    """A folder with a trial of rnn that was stopped after step 4."""
    pair = Pair("copy:smoke", "rnn")
    options = {"task": {"protocol": PROTOCOL}, "model": {"hidden_size": 4}, "trainer": {"accelerator": "cpu"}}
    Trial(pair, pair.resolve(options), 0).run(Store(tmp_path), [], [Stop()], checkpoint_every=3600.0)
    Trial(pair, pair.resolve(options), 0).run(Store(tmp_path), [], [Stop()], checkpoint_every=1e-9)
    return Store(tmp_path)


def resumed(store: Store) -> list[int]:
    (record,) = store.read().records
    assert record.status == "ok"
    assert not store.checkpoints.identities()
    return record.environment.resumed


def test_run_goes_on_and_says_so(stopped, capsys):
    protocol = [f"--task.protocol.{name}={value}" for name, value in PROTOCOL.items()]
    pair = ["--task", "copy:smoke", "--model", "rnn", "--model.hidden_size", "4", "--trainer.accelerator", "cpu"]
    assert main(["run", *pair, *protocol, "--checkpoint-every", "10m", "--out", str(stopped.folder)]) == 0
    assert "rnn on copy:smoke, seed 0: it goes on from its checkpoint of step 4" in capsys.readouterr().err
    assert resumed(stopped) == [0, 4]


def test_a_sweep_goes_on(stopped):
    task = f"copy:smoke[{','.join(f'protocol.{name}={value}' for name, value in PROTOCOL.items())}]"
    options = ["--accelerator", "cpu", "--checkpoint-every", "10m", "--out", str(stopped.folder)]
    assert main(["sweep", "--task", task, "--model", "rnn[hidden_size=4]", *options]) == 0
    assert resumed(stopped) == [0, 4]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run", "--checkpoint-every", "soon"], "--checkpoint-every is 'soon'; give a duration above zero"),
        (["run", "--checkpoint-every", "0s"], "--checkpoint-every is '0s'; give a duration above zero"),
        (["sweep", "--checkpoint-every", "soon"], "it must be a duration, such as 90, 10m or 2h"),
        (["sweep", "--checkpoint-every", "1m", "--vectorize", "8"], "and --vectorize 8 trains several as one"),
        (["sweep", "--checkpoint-every", "1m", "--executor", "ray"], "--checkpoint-every wants the folder"),
    ],
)
def test_a_mistake_is_one_line(arguments, reason, tmp_path, capsys):
    command, *options = arguments
    assert main([command, "--task", "copy:smoke", "--model", "rnn", *options, "--out", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert reason in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())
