"""A trial from options to record, when things go well and when they don't."""

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from lightning import Callback

from rnnae_bench.errors import UserError
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

SMALL = {"task": {"protocol": {"max_steps": 6, "evaluate_every": 3}}, "model": {"hidden_size": 4}}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair("copy:smoke", "gru")


def trial(pair: Pair, seed: int = 0, data_seed: int | None = None, **changes) -> Trial:
    return Trial(pair, pair.resolve({**SMALL, **changes}), seed, data_seed)


class Failing(Callback):
    """Raises at the fourth optimiser step."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 3:
            raise self.error


def test_the_id_is_the_hash_of_what_determines_the_result(pair):
    base = trial(pair).identity
    assert trial(pair).identity == base
    assert trial(pair, seed=1).identity != base
    assert trial(pair, data_seed=1).identity != base
    assert trial(pair, model={"hidden_size": 5}).identity != base
    assert trial(pair, trainer={"precision": "bf16-mixed"}).identity != base
    assert trial(pair, trainer={"gradient_clip_val": 0.5}).identity != base
    assert trial(pair, trainer={"accelerator": "cpu"}).identity == trial(pair, trainer={"devices": 1}).identity


def test_the_record_says_whether_the_card_has_tuned_the_model(pair):
    assert trial(pair).unmeasured("skipped", "").tuned is True
    card = Pair("forecast:sunspots", "rnn").card
    assert card.is_tuned_on("sunspots", "rnn")
    assert not card.is_tuned_on("smoke", "rnn")
    assert not card.is_tuned_on("sunspots", "dense_ae")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("bad weather"), "error"),
        (SystemExit(3), "error"),
        (MemoryError("too much"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"), "oom"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_a_failed_trial_is_a_row(pair, tmp_path, error, status):
    outcome = trial(pair).run(Store(tmp_path), ["x"], [Failing(error)])
    (record,) = Store(tmp_path).read().records
    assert record == outcome.record
    assert record.status == status
    assert record.failure.step == 3
    assert Store(tmp_path).series(record)["gradient_norm"].steps.tolist() == [1, 2, 3]
    assert record.primary.value is None
    assert record.primary.solved is False
    if status == "error":
        assert "Traceback" in record.failure.traceback


def test_a_model_that_cannot_be_built_is_a_row_too(pair, tmp_path, capsys):
    huge = trial(pair, model={"hidden_size": 3_000_000})
    record = huge.run(Store(tmp_path), ["x"]).record
    assert record.status == "oom"
    assert record.failure.step == 0
    assert record.measures.parameters is None


def test_data_that_cannot_be_made_are_the_users_mistake(pair):
    with pytest.raises(UserError, match="can't make its data with these options"):
        trial(pair, task={"delay": 10**13})


@pytest.mark.parametrize("error", [UserError("there is none here"), ArithmeticError("singular")])
@pytest.mark.parametrize("needed", [False, True])
def test_a_baseline_that_altered_data_do_not_have(error, needed):
    """It is left out where no score needs it; what fails otherwise is told in one line, before any work."""
    sine = Pair("sine:smoke", "gru")

    class Lacking(sine.task_class):
        def baseline(self, name):
            if name == ("ar2" if needed else "bayes"):
                raise error
            return super().baseline(name)

    assert sine.variant.primary.floor == "ar2"
    sine.task_class = Lacking
    altered = {**SMALL, "task": {"window": 10}}
    if isinstance(error, UserError) and not needed:
        assert "bayes" not in Trial(sine, sine.resolve(altered), 0).baselines
        return
    with pytest.raises(UserError, match=str(error)):
        Trial(sine, sine.resolve(altered), 0)


def test_a_sine_without_noise_has_no_bayes_and_is_trained():
    sine = Pair("sine:smoke", "gru")
    assert "bayes" not in Trial(sine, sine.resolve({**SMALL, "task": {"noise": 0.0}}), 0).baselines


def test_two_models_see_the_same_data_under_one_seed(pair):
    other = Pair("copy:smoke", "rnn")
    small = Trial(other, other.resolve(SMALL), 7)
    assert small.fingerprints == trial(pair, seed=7).fingerprints
    assert small.fingerprints["train"] != trial(pair, seed=8).fingerprints["train"]
    assert small.fingerprints["test"] == trial(pair, seed=8).fingerprints["test"]


def test_the_floor_of_an_altered_task_is_computed_anew(pair):
    altered = trial(pair, task={"symbols": 4, "protocol": {"max_steps": 1}})
    assert altered.baselines["memoryless"]["recall_accuracy"] == 0.25
    assert trial(pair).baselines["memoryless"]["recall_accuracy"] == 0.125


def test_options_come_from_class_then_variant_then_tuning_then_caller(pair):
    assert pair.defaults["task"]["delay"] == pair.variant.data["delay"]
    tuned = pair.card.tuned.get("gru", {}).get("optimization", {})
    for key, value in tuned.items():
        assert pair.defaults["model"]["optimization"][key] == value
    assert pair.resolve({"model": {"optimization": {"clip": 7.0}}})["model"]["optimization"]["clip"] == 7.0


def test_a_record_that_cannot_be_written_is_saved_elsewhere(pair, tmp_path):
    folder = tmp_path / "runs"
    waiting = trial(pair)
    folder.write_text("a file where the folder should be")
    outcome = waiting.run(Store(folder), ["x"])
    assert outcome.rescue is not None
    assert str(folder) in outcome.rescue
    assert outcome.path.exists()
    assert Store(outcome.path.parent).read().records[0].id == waiting.identity


def test_a_full_disk_loses_nothing(pair, full_disk):
    outcome = trial(pair).run(Store(full_disk), ["x"])
    assert outcome.rescue is not None
    assert "No space left" in outcome.rescue
    assert outcome.record.status == "ok"
    assert [path.name for path in full_disk.iterdir()] == ["ballast"]


def test_seeds_are_set_before_the_model_is_built(pair):
    weights = []
    for seed in (3, 3, 4):
        torch.rand(seed)  # whatever was drawn before
        waiting = trial(pair, seed=seed)
        model = pair.build_model(waiting.task, waiting.options["model"], seed)
        weights.append(torch.nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_tuned_options_that_do_not_exist_name_the_card(pair, monkeypatch):
    monkeypatch.setitem(pair.card.tuned, "gru", {"hiden_size": 3})
    with pytest.raises(UserError, match=r"task\.yaml: 'model\.hiden_size: 3' is not an option"):
        Pair("copy:smoke", "gru")


def test_a_torch_that_does_not_fit_its_torchvision_is_said_in_one_line(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist\\nmore')"
    )
    code = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from rnnae_bench.cli import main
        sys.exit(main(["run", "--task", "copy:smoke", "--model", "gru", "--out", {str(tmp_path / "runs")!r}]))
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "do not match (operator torchvision::nms does not exist)" in line
    assert "install both together" in line
    assert not (tmp_path / "runs").exists()


class Wanders(Callback):
    """Changes the working folder, as a plugin may."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        os.chdir(self.folder)


def test_a_record_goes_where_it_was_to_go_wherever_the_process_goes(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    outcome = trial(pair).run(Store(Path("runs")), ["x"], [Wanders(tmp_path / "elsewhere")], flush_every=0.0)
    assert outcome.path.parent == tmp_path / "runs"
    assert [record.status for record in Store(tmp_path / "runs").read().records] == ["ok"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


class Speechless(RuntimeError):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_that_cannot_be_printed_is_a_row(pair, tmp_path):
    record = trial(pair).run(Store(tmp_path), ["x"], [Failing(Speechless())]).record
    assert record.failure.message == "Speechless: it has no message that can be read"
