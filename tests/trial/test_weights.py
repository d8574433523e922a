"""Weights kept beside the record, and the trained model that comes back from them."""

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.errors import UserError
from rnnae_bench.records import transactions
from rnnae_bench.records.store import Store
from rnnae_bench.training.lightning import errors_only
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.rebuild import model_of
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial
from rnnae_bench.trial.weights import decode, encode

errors_only()


def trial(seed: int = 0, **trainer) -> Trial:
    pair = Pair("copy:smoke", "gru")
    options = {
        "task": {"protocol": {"max_steps": 4, "evaluate_every": 2}},
        "model": {"hidden_size": 4, "layers": 2},
        "trainer": {"accelerator": "cpu", **trainer},
    }
    return Trial(pair, pair.resolve(options), seed)


def accuracy(made: Trial, model: BenchModule) -> float:
    """The primary metric on the test set, by hand."""
    batch = made.task.evaluation_set("test")
    metrics = made.task.metrics()
    with torch.no_grad():
        metrics.update(model(batch.inputs, batch.lengths).float(), batch.targets)
    return float(metrics.compute()[made.pair.variant.primary.metric])


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_the_trained_model_comes_back(precision, tmp_path):
    made, store = trial(precision=precision), Store(tmp_path)
    outcome = made.run(store, [], keep_weights=True)
    record = store.find(outcome.record.id)
    model = model_of(record, store)
    assert not model.training
    assert next(model.parameters()).dtype == (torch.float64 if precision == "64-true" else torch.float32)
    assert accuracy(made, model) == record.primary.value
    assert record.weights.file in [path.name for path in tmp_path.iterdir()]


def test_those_trained_as_one_have_weights_of_their_own(tmp_path):
    store, made = Store(tmp_path), [trial(seed) for seed in range(2)]
    outcomes = VectorizedTrial(made).run(store, [], keep_weights=True)
    for one, outcome in zip(made, outcomes, strict=True):
        record = store.find(outcome.record.id)
        assert accuracy(one, model_of(record, store)) == pytest.approx(record.primary.value, abs=1e-6)


def test_a_record_and_its_weights_are_replaced_together(tmp_path, monkeypatch):
    store = Store(tmp_path)
    record = trial().run(store, [], keep_weights=True).record
    before = (tmp_path / record.weights.file).read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("rnnae_bench.records.transactions.Transactions._supersede", full)
        with pytest.raises(OSError, match="No space"):
            store.write(record, {}, weights=encode({"other": torch.ones(1)}))
    assert store.find(record.id) == record
    assert [path.name for path in tmp_path.glob("*.safetensors")] == [record.weights.file]
    store.write(record, {}, weights=encode({"other": torch.ones(1)}))
    assert list(decode(store.weights(store.find(record.id)))) == ["other"]
    ((path, old),) = store.superseded().items()
    assert Store(path.parent).weights(old) == before


@pytest.mark.parametrize("step", range(8))
def test_a_replacement_that_was_cut_short_is_finished_or_undone(step, tmp_path, monkeypatch):
    store = Store(tmp_path)
    record = trial().unmeasured("error", "never begun")
    store.write(record, {}, weights=encode({"old": torch.ones(1)}))
    left = iter(range(step))

    class Killed(BaseException):
        pass

    def counting(real):
        def call(*arguments):
            if next(left, None) is None:
                raise Killed
            return real(*arguments)

        return call

    with monkeypatch.context() as patched:
        for name in ("write_atomically", "copy_atomically"):
            patched.setattr(f"rnnae_bench.records.transactions.{name}", counting(getattr(transactions, name)))
        patched.setattr("rnnae_bench.records.transactions.Transactions._settle", lambda *_: None)
        with pytest.raises(Killed):
            store.write(record, {}, weights=encode({"new": torch.ones(1)}))
    store.tidy()
    found = store.find(record.id)
    assert list(decode(store.weights(found))) in (["old"], ["new"])
    assert store.series(found) == {}
    assert sorted(path.suffix for path in tmp_path.glob("*.*")) == [".json", ".parquet", ".safetensors"]


def test_what_can_not_come_back_is_one_line(tmp_path):
    store = Store(tmp_path)
    record = trial().run(store, [], keep_weights=True).record
    with pytest.raises(UserError, match="were not kept; run it with --keep weights"):
        model_of(replace(record, weights=None), store)
    plugins = dict.fromkeys(record.environment.plugins, "0.0.1")
    with pytest.raises(UserError, match=r"was made with .* 0.0.1, and here is .*; install the version that made it"):
        model_of(replace(record, environment=replace(record.environment, plugins=plugins)), store)
    with pytest.raises(UserError, match="can't be rebuilt here: there is no model 'absent'"):
        model_of(replace(record, model="absent"), store)
    path = tmp_path / record.weights.file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="was changed or swapped"):
        model_of(record, store)
    path.unlink()
    with pytest.raises(UserError, match="can't be read"):
        model_of(record, store)


def test_weights_of_all_kinds_come_back_to_the_bit():
    shared = torch.randn(3, 2)
    weights = {
        "real": shared,
        "tied": shared,
        "transposed": torch.randn(2, 3).T,
        "complex": torch.randn(2, dtype=torch.complex128),
        "half": torch.randn(2).bfloat16(),
        "count": torch.tensor(3),
        "scalar": nn.Parameter(torch.tensor(0.5)),
    }
    found = decode(encode(weights))
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        assert found[name].dtype == weight.dtype
        assert torch.equal(found[name], weight)
    with pytest.raises(ValueError, match="extra is no dense tensor"):
        encode({"extra": np.ones(1)})
    with pytest.raises(ValueError, match="no weights that were written here"):
        decode(b"\x80\x04 a pickle")
