"""Trials trained as one against the same trials run alone: records and histories, column by column."""

import logging
import math
import os
import signal

import numpy as np
import pytest
import torch
from lightning import Callback

from rnnae_bench.errors import UserError
from rnnae_bench.probes import Evaluation, OptimizerSteps
from rnnae_bench.records.record import Failure
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial, reason_apart, worthwhile
from rnnae_bench.trial.vectorized.module import VectorizedModule

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

SEEDS = (0, 1, 2)
PAIRS: dict[tuple[str, str], Pair] = {}
SMALL = {"hidden_size": 6}
RECURRENT = ("rnn", "lstm", "gru")
TIMES = {"training_seconds", "steps_per_second", "seconds_to_solved", "peak_memory_bytes"}
"""Measures that differ from run to run."""


def pair(task: str, model: str) -> Pair:
    if (task, model) not in PAIRS:
        PAIRS[task, model] = Pair(task, model)
    return PAIRS[task, model]


def trial(
    task: str = "copy:smoke",
    model: str = "gru",
    seed: int = 0,
    data_seed: int | None = None,
    steps: int = 12,
    precision: str = "64-true",
    **changes,
) -> Trial:
    optimization = changes.pop("optimization", {})
    options = {
        "task": {"protocol": {"max_steps": steps, "evaluate_every": max(1, steps // 3), "batch_size": 8}},
        "model": {**(SMALL if model in RECURRENT else {}), "optimization": optimization, **changes.pop("options", {})},
        "trainer": {"accelerator": "cpu", "precision": precision, **changes.pop("trainer", {})},
    }
    options["task"].update(changes.pop("data", {}))
    assert not changes
    chosen = pair(task, model)
    return Trial(chosen, chosen.resolve(options), seed, data_seed)


class Weights(Callback):
    """Keeps the final weights, one vector a model."""

    def __init__(self) -> None:
        self.found = torch.empty(0)

    def on_train_end(self, trainer, pl_module):
        weights = [weight.detach() for weight in pl_module.parameters()]
        if not isinstance(pl_module, VectorizedModule):
            weights = [weight.unsqueeze(0) for weight in weights]
        self.found = torch.cat([weight.flatten(1) for weight in weights], dim=1).clone()


def close(one: float | str | None, two: float | str | None, tolerance: float) -> bool:
    if not isinstance(one, float) or not isinstance(two, float):
        return one == two
    return one == pytest.approx(two, rel=tolerance, abs=tolerance)


def require_same(together, alone, tolerance: float) -> None:
    """The two outcomes are those of the same trial, up to rounding."""
    assert list(together.series) == list(alone.series)
    for name, series in alone.series.items():
        found = together.series[name]
        np.testing.assert_array_equal(found.steps, series.steps, err_msg=name)
        assert found.values.dtype == series.values.dtype
        # A profile is kept in single precision.
        rounding = max(tolerance, 2e-6) if series.values.ndim == 2 else tolerance
        np.testing.assert_allclose(found.values, series.values, rtol=rounding, atol=rounding, err_msg=name)
    one, two = together.record, alone.record
    for key in ("id", "status", "seed", "data_seed", "overrides", "configuration", "baselines", "fingerprints"):
        assert getattr(one, key) == getattr(two, key), key
    assert one.failure == two.failure
    for split in ("test", "validation"):
        assert one.metrics[split].keys() == two.metrics[split].keys()
        for name, value in two.metrics[split].items():
            assert close(one.metrics[split][name], value, tolerance), name
    assert one.measures.by_name.keys() == two.measures.by_name.keys()
    for name in one.measures.by_name.keys() - TIMES:
        assert close(one.measures.by_name[name], two.measures.by_name[name], max(tolerance, 1e-5)), name
    assert close(one.primary.score, two.primary.score, tolerance)
    kept = [Store(outcome.path.parent).samples(outcome.record) for outcome in (together, alone)]
    assert (kept[0] is None) == (kept[1] is None)
    for name, values in (kept[1] or {}).items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(kept[0][name], values, rtol=max(tolerance, 1e-6), atol=max(tolerance, 1e-6))
        else:
            np.testing.assert_array_equal(kept[0][name], values)


def run_both(trials: list[Trial], again: list[Trial], folder, tolerance: float = 1e-9):
    """Train them as one and alone; both must leave the same."""
    weights = Weights()
    together = VectorizedTrial(trials).run(Store(folder / "together"), ["x"], [weights])
    for member, own in enumerate(again):
        single = Weights()
        alone = own.run(Store(folder / "alone"), ["x"], [single])
        require_same(together[member], alone, tolerance)
        if alone.record.status == "ok":
            torch.testing.assert_close(weights.found[member], single.found[0], rtol=tolerance, atol=tolerance)
    return together


@pytest.mark.parametrize("model", ["rnn", "gru", "lstm"])
def test_a_hundred_steps_in_double_precision(model, tmp_path):
    rates = (0.03, 0.01, 0.003)

    def members() -> list[Trial]:
        return [
            trial(
                model=model,
                seed=seed,
                steps=100,
                # The schedule's decay, the clipping and the weight decay all take part.
                optimization={"learning_rate": rate, "clip": 0.4, "weight_decay": 0.05, "warmup": 0.1},
            )
            for seed, rate in zip(SEEDS, rates, strict=True)
        ]

    together = run_both(members(), members(), tmp_path)
    clipped = [outcome.record.measures.clipped_fraction for outcome in together]
    assert len(set(clipped)) == 3
    assert 0 < min(clipped) < 1
    peaks = [outcome.series["learning_rate"].values.max() for outcome in together]
    assert peaks == pytest.approx(rates, rel=1e-3)
    assert len(together[0].series["loss"].steps) == 100


@pytest.mark.parametrize(
    ("task", "model", "options"),
    [
        ("names:smoke", "lstm", {"layers": 2, "bidirectional": True, "dropout": 0.0}),
        ("sine:smoke", "gru", {}),
        ("denoise:smoke", "rnn", {"bidirectional": True}),
        ("counting:smoke", "lstm", {}),
        ("parity:smoke", "gru", {"layers": 2}),
        ("tagging:smoke", "rnn", {"bidirectional": True}),
        ("reconstruct:smoke", "dense_ae", {}),
        ("represent:smoke", "dense_ae", {}),
    ],
    ids=["names", "sine", "denoise", "counting", "parity", "tagging", "reconstruct", "represent"],
)
def test_every_task_and_model(task, model, options, tmp_path):
    def members() -> list[Trial]:
        return [trial(task, model, seed, options=options) for seed in SEEDS[:2]]

    run_both(members(), members(), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"layers": 2}, "optimization": {"clip": 0.02, "clip_by": "value"}},
        {"options": {"through_time": {"window": 3, "learned_state": True}}, "optimization": {"clip": 0.0}},
    ],
    ids=["value", "window"],
)
def test_options_of_the_recurrence_and_the_optimisation(changes, tmp_path):
    run_both([trial(seed=seed, **changes) for seed in SEEDS], [trial(seed=seed, **changes) for seed in SEEDS], tmp_path)


def test_members_may_share_their_data(tmp_path):
    def members(data_seeds: tuple[int, ...]) -> list[Trial]:
        return [trial(seed=seed, data_seed=data) for seed, data in zip(SEEDS, data_seeds, strict=True)]

    for data_seeds in ((5, 5, 5), (5, 6, 5)):
        together = run_both(members(data_seeds), members(data_seeds), tmp_path / str(data_seeds))
        prints = [outcome.record.fingerprints["train"] for outcome in together]
        assert len(set(prints)) == len(set(data_seeds))


def test_batches_and_groups_larger_than_the_batch_whose_gradient_is_read(tmp_path):
    large = {"protocol": {"max_steps": 2, "evaluate_every": 2, "batch_size": 40}}
    run_both(*([trial(seed=seed, data=large) for seed in (0, 1)] for _ in range(2)), tmp_path)
    members = [trial(seed=seed, steps=2) for seed in range(33)]
    last = VectorizedTrial(members).run(Store(tmp_path / "many"), ["x"])[-1]
    require_same(last, trial(seed=32, steps=2).run(Store(tmp_path / "one"), ["x"]), 1e-9)


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-3), ("bf16-mixed", 0.05)])
def test_final_metrics_in_lower_precision(precision, tolerance, tmp_path):
    """Rounding grows over the steps; thirty of them stay within the tolerance, and so does what is scored."""
    together = VectorizedTrial([trial(seed=seed, steps=30, precision=precision) for seed in SEEDS]).run(
        Store(tmp_path), ["x"]
    )
    for seed, outcome in zip(SEEDS, together, strict=True):
        alone = trial(seed=seed, steps=30, precision=precision).run(Store(tmp_path / "alone"), ["x"])
        assert outcome.record.metrics["test"] == pytest.approx(
            alone.record.metrics["test"], rel=tolerance, abs=tolerance
        )
        for name in ("loss", "gradient_norm", "gradient_norm_clipped"):
            np.testing.assert_allclose(
                outcome.series[name].values, alone.series[name].values, rtol=tolerance, atol=tolerance
            )


def test_a_member_that_diverges_ends_as_it_would_alone_and_the_others_go_on(tmp_path):
    def members(seeds: tuple[int, ...]) -> list[Trial]:
        # The identity lets states grow without bound; so does the rate of the second member.
        rates = {0: 1e-3, 1: 1e200, 2: 1e-3}
        return [
            trial(
                model="rnn",
                seed=seed,
                steps=100,
                optimization={"learning_rate": rates[seed], "clip": 0.0, "warmup": 0.0},
                options={"activation": "identity"},
            )
            for seed in seeds
        ]

    with np.errstate(invalid="ignore"):
        together = run_both(members(SEEDS), members(SEEDS), tmp_path)
    assert [outcome.record.status for outcome in together] == ["ok", "diverged", "ok"]
    step = together[1].record.failure.step
    assert 1 < step < 50
    # Alone, the loss is looked at every fifty steps.
    assert together[1].series["loss"].steps[-1] == 50
    values = together[1].series["loss"].values
    assert np.isfinite(values[: step - 1]).all()
    assert not math.isfinite(values[step - 1])
    healthy = VectorizedTrial(members((0, 2))).run(Store(tmp_path / "healthy"), ["x"])
    for mine, other in zip((together[0], together[2]), healthy, strict=True):
        np.testing.assert_allclose(mine.series["loss"].values, other.series["loss"].values, rtol=1e-12)


def test_when_all_diverge_the_training_ends(tmp_path):
    rates = {"learning_rate": 1e200, "clip": 0.0, "warmup": 0.0}
    members = [
        trial(model="rnn", seed=seed, steps=100, optimization=rates, options={"activation": "identity"})
        for seed in SEEDS
    ]
    outcomes = VectorizedTrial(members).run(Store(tmp_path), ["x"])
    assert [outcome.record.status for outcome in outcomes] == ["diverged"] * 3
    assert [outcome.record.measures.steps for outcome in outcomes] == [50] * 3
    assert [outcome.record.id for outcome in outcomes] == [member.identity for member in members]


class Stop(OptimizerSteps):
    """Stops everything at the end of the sixth step."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_optimizer_step(self, trainer, pl_module, step, loss, batch):
        assert loss.shape == (3,)
        if step == 6:
            if self.how == "Ctrl-C":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_a_stop_leaves_a_record_of_every_member(how, tmp_path):
    members = [trial(seed=seed) for seed in SEEDS]
    outcomes = VectorizedTrial(members).run(Store(tmp_path), ["x"], [Stop(how)])
    assert len(Store(tmp_path).read().records) == 3
    for member, outcome in zip(members, outcomes, strict=True):
        assert outcome.record.id == member.identity
        assert outcome.record.failure == Failure(message=f"stopped by {how} at step 6", step=6, traceback=None)
        assert outcome.series["loss"].steps.tolist() == [1, 2, 3, 4, 5, 6]


class Drafts(OptimizerSteps):
    """Notes the drafts that lie in the store in the middle of a training."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.found: dict[str, int] = {}

    def on_optimizer_step(self, trainer, pl_module, step, loss, batch):
        if step == 8:
            for identity in self.store.drafts.identities():
                record, _ = self.store.drafts.read(identity)
                self.found[identity] = record.measures.steps


def test_drafts_of_every_member(tmp_path):
    store = Store(tmp_path)
    members = [trial(seed=seed) for seed in SEEDS]
    watch = Drafts(store)
    VectorizedTrial(members).run(store, ["x"], [watch], flush_every=0.0)
    assert watch.found == {member.identity: 7 for member in members}
    assert not store.drafts.identities()


class Broken(OptimizerSteps):
    def on_optimizer_step(self, trainer, pl_module, step, loss, batch):
        raise RuntimeError("bad weather")


def test_what_goes_wrong_is_in_every_record(tmp_path):
    outcomes = VectorizedTrial([trial(seed=seed) for seed in SEEDS]).run(Store(tmp_path), ["x"], [Broken()])
    assert [outcome.record.status for outcome in outcomes] == ["error"] * 3
    assert all("bad weather" in outcome.record.failure.message for outcome in outcomes)


class Best(Callback):
    def on_validation_end(self, trainer, pl_module):
        (evaluation,) = (probe for probe in trainer.callbacks if isinstance(probe, Evaluation))
        self.value = evaluation.validation["recall_accuracy"]


def test_records_share_the_time_and_say_so(tmp_path):
    best = Best()
    outcomes = VectorizedTrial([trial(seed=seed) for seed in SEEDS]).run(Store(tmp_path), ["x"], [best])
    for outcome in outcomes:
        record = outcome.record
        noted = record.environment.vectorized
        assert noted.members == 3
        assert record.measures.training_seconds == pytest.approx(noted.seconds / 3)
        assert record.measures.steps_per_second == pytest.approx(12 * 3 / noted.seconds)
    assert best.value == max(outcome.record.metrics["validation"]["recall_accuracy"] for outcome in outcomes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"options": {"layers": 2, "dropout": 0.5}}, "dropout would draw other random numbers"),
        ({"options": {"through_time": {"recurrent_dropout": 0.5}}}, "dropout would draw other random numbers"),
        ({"trainer": {"gradient_clip_val": 0.5}}, "not trained in blocks"),
        ({"trainer": {"accumulate_grad_batches": 2}}, "not trained in blocks"),
        ({"trainer": {"profiler": "simple"}}, "trainer.profiler is for a single trial"),
        ({"precision": "bf16-true"}, "precision bf16-true"),
    ],
)
def test_what_cannot_be_trained_as_one(changes, reason):
    found = reason_apart(trial(**changes))
    assert found is not None
    assert reason in found
    with pytest.raises(UserError, match=f"gru on copy:smoke can't be trained as one: .*{reason}"):
        VectorizedTrial([trial(**changes)])


def test_a_carried_state_cannot():
    carried = trial("sine:smoke", data={"ordered": True}, options={"through_time": {"stateful": True}})
    assert reason_apart(carried) == "it carries its state from batch to batch"
    chosen = pair("denoise:smoke", "dense_ae")
    dense = Trial(chosen, chosen.resolve({"trainer": {"accelerator": "cpu"}}), 0)
    assert reason_apart(dense) is None
    # It has no model axis of its own: as one only where that is asked for.
    assert worthwhile(dense) == 1
    assert reason_apart(trial()) is None


@pytest.mark.parametrize(
    ("hidden", "batch", "delay", "together"),
    [(16, 8, 2, 64), (16, 32, 2, 32), (16, 64, 2, 16), (64, 32, 2, 8), (128, 32, 2, 1), (16, 32, 1016, 8)],
)
def test_the_more_are_trained_as_one_the_smaller_they_are(hidden, batch, delay, together):
    data = {"delay": delay, "evaluation_size": 8, "protocol": {"batch_size": batch}}
    assert worthwhile(trial(options={"hidden_size": hidden}, data=data)) == together


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"options": {"hidden_size": 7}}, r"model\.hidden_size is 6 in one and 7 in another"),
        ({"optimization": {"clip": 3.0}}, r"model\.optimization\.clip is 0\.25 in one and 3\.0 in another"),
        ({"steps": 15}, r"task\.protocol\.max_steps is 12 in one and 15 in another"),
        ({"precision": "32-true"}, r"trainer\.precision is 64-true in one and 32-true in another"),
        ({"model": "lstm"}, r"pair\.model is gru in one and lstm in another"),
        ({}, "was given 2 times"),
    ],
)
def test_members_that_differ_in_more_are_named(other, message):
    second = trial(seed=1 if other else 0, **other)
    with pytest.raises(UserError, match=message):
        VectorizedTrial([trial(), second])


def test_no_members():
    with pytest.raises(UserError, match="no trials were given"):
        VectorizedTrial([])
