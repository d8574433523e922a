"""Inputs without time, outputs of their own length, masks and limited codes, by a plugin and through whole trials."""

import logging
import shutil
from pathlib import Path

import pytest

from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

PLUGIN = Path(__file__).with_name("spec_plugin")
MODELS = {"translator": "Translator", "lstm_ae": "LSTMAutoencoder", "perceptron": "Perceptron"}


@pytest.fixture(autouse=True)
def plugin(install, tmp_path):
    """The plugin's package, installed as another distribution."""
    shutil.copytree(PLUGIN, tmp_path / "spec_plugin", ignore=shutil.ignore_patterns("__pycache__"))
    classes = {"reverse": "ReverseTask", "waves": "WavesTask", "blobs": "BlobsTask"}
    install(
        "spec-plugin",
        {},
        models={name: f"spec_plugin.models:{attribute}" for name, attribute in MODELS.items()},
        tasks={name: f"spec_plugin.{name}.datamodule:{attribute}" for name, attribute in classes.items()},
    )


def outcome(task, model, folder, **options):
    """The record and histories of a trial."""
    pair = Pair(task, model)
    made = Trial(pair, pair.resolve({"model": options}), 0)
    found = made.run(Store(folder), ["x"])
    assert found.record["status"] == "ok", found.record["failure"]
    return found.record, found.series


def test_an_encoder_decoder_learns_to_reverse(tmp_path):
    record, series = outcome("reverse:smoke", "translator", tmp_path / "runs", optimization={"learning_rate": 0.01})
    # Free running, whole strings with their end: by chance 2 % are right.
    assert record["primary"]["value"] > 0.6
    scores = series["test/examples/accuracy"].values
    assert scores.shape == (1, 100)
    assert scores.mean() == pytest.approx(record["primary"]["value"])
