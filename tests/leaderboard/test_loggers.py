import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import wandb
from lightning import Callback
from lightning.pytorch.loggers import CSVLogger

from rnnae_bench.leaderboard.trackers.loggers import StreamToLoggers, log_finished, run_logged
from rnnae_bench.leaderboard.trackers.wandb_run import HEATMAP, RECORD_TYPE
from rnnae_bench.records.document import checksum, document_of
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

SMALL = {"task": {"protocol": {"max_steps": 12, "evaluate_every": 4}}, "model": {"hidden_size": 4}}
PAIR = Pair("copy:smoke", "gru")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """No key, no network, and nothing left in the user's folders."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "client" / name))
    wandb.teardown()
    yield
    wandb.teardown()


def trial(seed: int = 0, **changes) -> Trial:
    return Trial(PAIR, PAIR.resolve({**SMALL, **changes}), seed)


class Kept:
    """What an offline run holds."""

    def __init__(self, messages, store: Store, identity: str) -> None:
        (self.folder,) = (store.folder / "logs" / "wandb").glob(f"offline-run-*-{identity}")
        self.history, self.summary, self.config = [], {}, {}
        self.run = self.artifact = self.exit_code = None
        for one in messages(self.folder / f"run-{identity}.wandb"):
            kind = one.WhichOneof("record_type")
            if kind == "history":
                self.history.append(_items(one.history.item))
            elif kind == "summary":
                self.summary.update(_items(one.summary.update))
            elif kind == "run":
                self.run = one.run
                self.config = _items(one.run.config.update)
            elif kind == "artifact":
                self.artifact = one.artifact
            elif kind == "exit":
                self.exit_code = one.exit.exit_code


def _items(items) -> dict:
    return {one.key or ".".join(one.nested_key): json.loads(one.value_json) for one in items}


def require_whole(messages, store: Store, identity: str) -> Kept:
    """The run of a trial, with everything that its record and histories hold."""
    record, kept = store.find(identity), Kept(messages, store, identity)
    for name, one in store.series(record).items():
        if one.values.ndim == 1:
            logged = [(row["trainer/global_step"], row[name]) for row in kept.history if name in row]
            np.testing.assert_array_equal(logged, np.stack([one.steps, one.values], axis=1), name)
    assert kept.summary["record_checksum"] == checksum(document_of(record))
    assert (kept.summary["status"], kept.summary.get("primary")) == (record.status, record.primary.value)
    assert kept.config["model"] == record.configuration.model
    assert (kept.run.run_group, kept.run.job_type) == (
        "copy:smoke[max_steps=12,evaluate_every=4]/gru[hidden_size=4]",
        "trial",
    )
    (picture,) = (row[f"{HEATMAP}.path"] for row in kept.history if f"{HEATMAP}.path" in row)
    assert (kept.folder / "files" / picture).read_bytes().startswith(b"\x89PNG")
    assert (kept.artifact.type, kept.artifact.name) == (RECORD_TYPE, f"record-{identity}")
    carried = {one.path: one.local_path for one in kept.artifact.manifest.contents}
    samples = store.find(identity).samples
    assert carried.keys() == {f"{identity}.json", f"{identity}.parquet", samples.file}
    for name, path in carried.items():
        assert path.startswith(str(kept.folder))
        assert Path(path).read_bytes() == (store.folder / name).read_bytes()
    return kept


def test_a_run_that_streams_holds_all_that_the_record_holds(tmp_path, capfd, wandb_messages):
    store, one = Store(tmp_path), trial()
    outcome = run_logged(one, store, [], [], ["wandb"])
    kept = require_whole(wandb_messages, store, outcome.record.id)
    assert kept.exit_code == 0
    assert capfd.readouterr() == ("", "")


def test_trials_trained_as_one_are_logged_each(tmp_path, wandb_messages):
    store, trials = Store(tmp_path), [trial(0), trial(1)]
    for one, outcome in zip(trials, VectorizedTrial(trials).run(store, []), strict=True):
        log_finished(one, store, outcome, ["wandb", "csv"])
        require_whole(wandb_messages, store, one.identity)
        with (tmp_path / "logs" / "csv" / one.identity / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        logged = [float(row["gradient_norm"]) for row in rows if row["gradient_norm"]]
        assert logged == pytest.approx(outcome.series["gradient_norm"].values)


class Failing(Callback):
    """Raises at the first evaluation on the validation set."""

    def on_validation_end(self, trainer, pl_module):
        raise RuntimeError("bad weather")


def test_a_failed_trial_is_a_failed_run(tmp_path, wandb_messages):
    store, one = Store(tmp_path), trial()
    assert run_logged(one, store, [], [Failing()], ["wandb"]).record.status == "error"
    kept = Kept(wandb_messages, store, one.identity)
    assert kept.exit_code == 1
    assert (kept.summary["status"], kept.summary["failure"]) == ("error", "RuntimeError: bad weather")
    assert [row["trainer/global_step"] for row in kept.history if "loss" in row] == [1, 2, 3, 4]


class Stubborn(CSVLogger):
    """Fails from the third row on."""

    def log_metrics(self, metrics, step=None):
        if step == 3:
            raise OSError("no space left")
        super().log_metrics(metrics, step)


def test_a_logger_that_fails_does_not_end_the_trial(tmp_path, capsys):
    good, bad = CSVLogger(tmp_path, name="good", version=""), Stubborn(tmp_path, name="bad", version="")
    stream = StreamToLoggers([good, bad], every=4)
    outcome = trial().run(Store(tmp_path / "runs"), [], [stream], [good, bad])
    assert outcome.record.status == "ok"
    assert stream.loggers == [good]
    assert "Stubborn failed, the record is complete all the same: no space left" in capsys.readouterr().err


@pytest.mark.parametrize("every", [1, 4, 5, 100])
def test_rows_are_delivered_once_and_whole(tmp_path, every):
    # An evaluation follows the step at which a delivery may be due.
    logger = CSVLogger(tmp_path, name="csv", version="")
    outcome = trial().run(Store(tmp_path / "runs"), [], [StreamToLoggers([logger], every=every)], [logger])
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    for name, one in outcome.series.items():
        if one.values.ndim == 1:
            assert [float(row[name]) for row in rows if row[name]] == pytest.approx(one.values.tolist(), nan_ok=True)
