"""What a task may give beyond the least: sets by name, metrics of batches, a calibration. A plugin's is run as ours."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback
from msgspec.structs import replace

from rnnae_bench.cli import main
from rnnae_bench.contracts.card import load_card
from rnnae_bench.errors import UserError
from rnnae_bench.options import yaml12
from rnnae_bench.plugins.registry import tasks
from rnnae_bench.records.store import Store
from rnnae_bench.testing import check_task
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.reproduce import differences
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.verify import objections

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


@pytest.fixture
def ramps(install, monkeypatch):
    """The task of a distribution that is not ours."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "plugin")
    install("ramps-plugin", {}, tasks={"ramps": "ramps.datamodule:RampsTask"})
    from ramps.datamodule import RampsTask

    return RampsTask


class Answers(Callback):
    """Keeps what the model answered to each set, whole."""

    def __init__(self) -> None:
        self.by_set: dict[str, list[torch.Tensor]] = {}

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.by_set.setdefault(trainer.datamodule.tested, []).append(outputs)


def errors(task, name: str, answers: Answers) -> np.ndarray:
    """Each row's mean squared error over its own steps."""
    batch, prediction = task.evaluation_set(name), torch.cat(answers.by_set[name]).double().numpy()
    squares = (prediction - batch.targets.double().numpy())[..., 0] ** 2
    return np.array([row[:length].mean() for row, length in zip(squares, batch.lengths.tolist(), strict=True)])


def trial(**options) -> Trial:
    pair = Pair("ramps:smoke", "gru")
    return Trial(pair, pair.resolve(options), seed=0)


def test_sets_of_other_lengths_and_a_calibrated_threshold_are_in_the_record(ramps, tmp_path):
    answers, one = Answers(), trial()
    record = one.run(Store(tmp_path), ["x"], [answers]).record
    assert record.failure is None
    assert [*answers.by_set] == ["normal", "test", "test@4x"]
    assert answers.by_set["test@4x"][0].shape == (15, 24, 1)
    threshold = np.percentile(errors(one.task, "normal", answers), 95)
    assert record.measures.by_name["calibration/threshold"] == pytest.approx(threshold, rel=1e-6)
    assert [*record.metrics] == ["test", "validation", "test@4x"]
    for name in ("test", "test@4x"):
        found, wanted = record.metrics[name], errors(one.task, name, answers)
        assert found["flagged"] == pytest.approx((wanted > threshold).mean())
        lengths = one.task.evaluation_set(name).lengths.numpy()
        assert found["mse"] == pytest.approx((wanted * lengths).sum() / lengths.sum(), rel=1e-6)
        assert found["steps"] == lengths.sum()
    assert 0 < record.metrics["test"]["flagged"] < 1
    assert record.metrics["test"]["worst_mse"] == max(record.metrics[name]["mse"] for name in ("test", "test@4x"))
    assert "worst_mse" not in record.metrics["test@4x"]
    assert record.primary.value == record.metrics["test"]["mse"]
    assert record.data_version == "May"
    assert {*record.fingerprints} == {"train", "validation", "test", "test@4x", "normal"}
    assert Store(tmp_path).read().records[0].metrics == record.metrics
    assert one.task.tested == "test"


def test_another_version_of_the_data_is_named(ramps):
    one = trial()
    record = one.unmeasured("skipped", "a test")
    other = replace(record, data_version="April", fingerprints=record.fingerprints | {"test": "0" * 16})
    found, _ = objections(other)
    assert re.search(r"its test data are not those of ramps:smoke .*of the data version April, here May", found[0])
    assert any(each.what == "data: version" and each.is_of_data for each in differences(other, one))
    assert trial(task={"length": 5}).unmeasured("skipped", "a test").data_version is None


def test_samples_are_kept_beside_the_record(ramps, monkeypatch, tmp_path):
    monkeypatch.setattr(ramps, "samples", lambda self: [39, 3, 20])
    answers, one, store = Answers(), trial(), Store(tmp_path)
    record = one.run(store, ["x"], [answers]).record
    found, test = store.samples(record), one.task.evaluation_set("test")
    assert found["rows"].tolist() == [3, 20, 39]
    for name in ("inputs", "targets", "lengths"):
        np.testing.assert_array_equal(found[name], getattr(test, name)[[3, 20, 39]])
    np.testing.assert_array_equal(found["prediction"], torch.cat(answers.by_set["test"])[[3, 20, 39]])


def test_tuned_values_of_the_variant_are_the_pairs_defaults_and_shown(ramps, capsys):
    assert Pair("ramps:smoke", "gru").resolve({})["model"]["hidden_size"] == 4
    assert Pair("ramps:smoke", "rnn").resolve({})["model"]["hidden_size"] == 128
    assert main(["show", "task", "ramps:smoke"]) == 0
    shown = capsys.readouterr().out
    assert "Seconds. Data version May." in shown
    assert re.search(r"gru on smoke +hidden_size +4", shown)
    assert main(["show", "model", "gru"]) == 0
    assert re.search(r"ramps:smoke +hidden_size +4", capsys.readouterr().out)


TWO = """
from ramps.datamodule import RampsTask


class Calm(RampsTask):
    name = "calm"


class Wild(RampsTask):
    name = "wild"
"""


def test_two_tasks_share_a_folder_and_a_command_fills_in_their_baselines(ramps, install, tmp_path, capsys):
    card = (Path(__file__).parent / "plugin" / "ramps" / "task.yaml").read_text()
    empty = card.replace("values: {mse: 0.343122}", "values: {}").replace("Anomalies in ramps", "Wild ramps")
    cards = {"calm.task.yaml": card.replace("Anomalies in ramps", "Calm ramps"), "wild.task.yaml": empty}
    install("two-tasks", {"two.py": TWO, **cards}, tasks={"calm": "two:Calm", "wild": "two:Wild"})
    with pytest.raises(UserError, match=r"wild\.task\.yaml:14: .*values: must contain at least 1 prop"):
        tasks().get("wild").load().card()
    assert main(["list", "tasks"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"calm +Calm ramps +smoke, standard", listed)
    assert re.search(r"wild .*broken", listed)
    assert main(["baselines", "wild"]) == 0
    printed = yaml12.compose(capsys.readouterr().out)[1]
    baseline = printed["variants"]["standard"]["baselines"]["identity"]
    assert baseline["source"] == "the noisy ramp itself"
    wild = tasks().get("wild").load()
    expected = wild().baseline("identity")["mse"]
    assert baseline["values"] == {"mse": pytest.approx(expected, rel=1e-5)}
    (tmp_path / "wild.task.yaml").write_text(empty.replace("{}", f"{{mse: {baseline['values']['mse']}}}"))
    load_card.cache_clear()
    check_task(wild)
    with pytest.raises(UserError, match="task 'wild' has no variant 'long'"):
        wild.from_variant("long")
    assert main(["baselines", "wild:smoke", "--json"]) == 0
    assert [*json.loads(capsys.readouterr().out)] == ["smoke"]


def test_the_exam_knows_them(ramps):
    check_task(ramps)


def test_the_exam_finds_samples_that_are_no_rows(ramps, monkeypatch):
    monkeypatch.setattr(ramps, "samples", lambda self: [0, 40])
    with pytest.raises(AssertionError, match=r"different rows of the test set, from 0 to 39, not \[0, 40\]"):
        check_task(ramps)


def test_the_exam_finds_a_reader_of_other_rows(ramps):
    class Centres(ramps):
        __module__ = ramps.__module__

        def predict(self, model, batch):
            answer = super().predict(model, batch)
            return answer - answer.mean(0)

    with pytest.raises(AssertionError, match=r"answer each row by itself.*predicts_rows = False"):
        check_task(Centres)
    Centres.predicts_rows = False
    check_task(Centres)
    (whole,) = Centres.from_variant("smoke").test_dataloader()
    assert len(whole.targets) == 40


@pytest.mark.parametrize(
    ("names", "reference", "reason"),
    [
        (("test", "validation"), None, "begin with 'validation', 'test'"),
        (("validation", "test", "train"), None, "names an evaluation set 'train'"),
        (("validation", "test", "a b"), None, "names an evaluation set 'a b'"),
        (("validation", "test"), "test", "reference is 'test', which is scored"),
    ],
)
def test_sets_that_are_named_wrongly_are_refused_before_work_starts(ramps, monkeypatch, names, reference, reason):
    monkeypatch.setattr(ramps, "evaluation_sets", names)
    monkeypatch.setattr(ramps, "reference", reference)
    with pytest.raises(UserError, match=f"RampsTask.*{reason}"):
        trial()


def test_a_set_that_changes_is_found_out(ramps, monkeypatch, tmp_path):
    def from_global_numbers(self, name):
        return self.ramps(40, self.length, 0.1, torch.default_generator)

    def after_training_began(self, name):
        return self.ramps(40, self.length, 0.1 + 0.1 * (self.trainer is not None), self.generator(name))

    monkeypatch.setattr(ramps, "evaluation_set", from_global_numbers)
    with pytest.raises(UserError, match=r"^RampsTask\.evaluation_set\('validation'\) gives other rows than before"):
        trial()
    monkeypatch.setattr(ramps, "evaluation_set", after_training_began)
    failure = trial().run(Store(tmp_path), ["x"]).record.failure
    assert "RampsTask.evaluation_set('validation') gives other rows than before" in failure.message
    assert failure.step == 0


def test_a_predict_of_whole_sets_is_refused_on_several_devices(ramps, monkeypatch):
    monkeypatch.setattr(ramps, "predicts_rows", False)
    with pytest.raises(UserError, match=r"RampsTask\.predict needs whole evaluation sets.*use one"):
        trial(trainer={"devices": 2, "accelerator": "cpu", "strategy": "ddp"})


def test_a_set_may_be_streamed(ramps, monkeypatch, tmp_path):
    whole = trial().run(Store(tmp_path / "whole"), ["x"]).record
    sets, read = ramps.evaluation_set, []

    def batches(self, name):
        rows = sets(self, name)
        for start in range(0, 40, 8):
            read.append(name)
            yield rows.rows(slice(start, start + 8))

    monkeypatch.setattr(ramps, "evaluation_batches", batches)
    monkeypatch.delattr(ramps, "evaluation_set")
    monkeypatch.setattr(ramps, "baseline", lambda self, name: {})
    monkeypatch.setattr(ramps, "checksum", lambda self, name: f"{name} of the third of May")
    one = trial()
    assert not read, "a declared checksum spares the fingerprint the reading"
    streamed = one.run(Store(tmp_path / "streamed"), ["x"]).record
    for name, values in whole.metrics.items():
        assert streamed.metrics[name] == pytest.approx(values, rel=1e-6)
    assert read.count("test") == 5
    assert streamed.fingerprints["test"] != whole.fingerprints["test"]
    monkeypatch.setattr(ramps, "checksum", lambda self, name: f"{name} of the fourth of May")
    assert trial().fingerprints["test"] != streamed.fingerprints["test"]
    monkeypatch.setattr(ramps, "checksum", lambda self, name: None)
    one = trial()
    assert one.fingerprints == trial().fingerprints
    one.task.length = 5
    with pytest.raises(UserError, match=r"^RampsTask\.evaluation_batches\('test'\) gives other rows than before"):
        [*one.task.test_dataloader()]


def test_a_task_without_sets_is_refused(ramps, monkeypatch):
    monkeypatch.delattr(ramps, "evaluation_set")
    with pytest.raises(TypeError, match=r"RampsTask must define evaluation_set\(name\), or evaluation_batches\(name\)"):
        ramps()
