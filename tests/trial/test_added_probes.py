"""Probes of plugins in a trial: what they measure is recorded, and nothing that they do wrong reaches the trial."""

import json
import sys

import numpy as np
import pytest
import torch

import rnnae_bench
from rnnae_bench import OptimizerSteps, Probe, Series, StepBuffer
from rnnae_bench.errors import UserError
from rnnae_bench.probes.reporting import OURS
from rnnae_bench.records.store import Store
from rnnae_bench.training.lightning import errors_only
from rnnae_bench.trial.added_probes import added_probes
from rnnae_bench.trial.asked_probes import asked_probes
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import VectorizedTrial, reason_apart

errors_only()

OPTIONS = {"task": {"protocol": {"max_steps": 6, "evaluate_every": 3}}, "model": {"hidden_size": 4}}


class Weights(OptimizerSteps, Probe):
    """The norm of all weights after every optimiser step.

    Args:
        factor: What it is multiplied by.
    """

    subject = "weights_norm"
    kept = ("_norms",)

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self._norms = factor, StepBuffer()

    def on_optimizer_step(self, trainer, pl_module, step, loss, batch):
        squares = [weight.detach().flatten(1 if loss.ndim else 0).square().sum(-1) for weight in pl_module.parameters()]
        self._norms.append(step, self.factor * sum(squares).sqrt())

    def of_member(self, member):
        mine = type(self)(self.factor)
        mine._norms = self._norms.of_member(member)
        return mine

    def series(self):
        return {"weights_norm": Series(*self._norms.rows())}

    def measures(self):
        return {"weights_norm/last": np.float32(self._norms.rows()[1][-1])}


def trial(*probes, seed=0, options=OPTIONS, model="gru") -> Trial:
    pair = Pair("copy:smoke", model)
    return Trial(pair, pair.resolve(options), seed=seed, probes=added_probes(asked_probes(probes)))


def run(folder, *probes, **options):
    outcome = trial(*probes).run(Store(folder), ["x"], **options)
    return outcome.record, outcome.series


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(tmp_path_factory.mktemp("plain"))


def test_what_it_measures_is_recorded_and_nothing_else_changes(tmp_path, plain):
    record, series = run(tmp_path, Weights)
    assert series["weights_norm"].steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert record.measures.by_name["weights_norm/last"] == pytest.approx(series["weights_norm"].values[-1])
    value = f"{__name__}:Weights"
    (origin,) = record.environment.probes.values()
    assert record.environment.probes.keys() == {"weights"}
    assert origin.startswith(f"{value} (not installed) sha256:")
    before, columns = plain
    assert (record.id, record.metrics, record.absent) == (before.id, before.metrics, {})
    assert record.environment.plugins == before.environment.plugins
    assert series.keys() - columns.keys() == {"weights_norm"}
    for name, one in columns.items():
        np.testing.assert_array_equal(one.values, series[name].values)


def test_names_that_the_suite_takes_are_all_known(plain):
    record, series = plain
    names = {*series, *record.measures.by_name, *record.absent}
    assert {name.partition("/")[0] for name in names} <= OURS


class Babbler(Probe):
    """Says what it must not."""

    subject = "babble"

    def series(self):
        return {
            "loss": Series(np.array([1]), np.array([0.0])),
            "babble": Series(np.array([1]), np.array([0.0])),
            "babble/short": Series(np.array([1, 2]), np.array([0.0])),
            "babble/back": Series(np.array([2, 1]), np.array([0.0, 1.0])),
            "babble/texts": Series(np.array([1]), np.array(["x"])),
            "babble/list": [1, 2],
            "babble/none": Series(np.array([1, 2]), np.array([0.5, None])),
        }

    def measures(self):
        self.absent.update(loss="I say so", babble=3)
        return {
            "steps": 7,
            "babble/tensor": torch.ones(1),
            "babble/true": True,
            "babble/nan": float("nan"),
            "babble/whole": np.int64(3),
        }


def test_ours_is_kept_and_what_no_record_can_hold_is_left_out(tmp_path, plain):
    record, series = run(tmp_path, Babbler)
    assert record.status == "ok"
    np.testing.assert_array_equal(series["loss"].values, plain[1]["loss"].values)
    assert record.measures.steps == 6
    assert {name for name in series if name.startswith("babble")} == {"babble", "babble/none"}
    assert np.isnan(series["babble/none"].values[1])
    own = {name: value for name, value in record.measures.by_name.items() if name.startswith("babble")}
    assert own == {"babble/nan": None, "babble/whole": 3}
    assert all(name.partition("/")[0] == "babble" for name in record.absent)
    assert record.absent["babble/short"] == "not kept: it has 1 values at 2 steps"
    assert "its name is left to others" in record.absent["babble/steps"]
    assert "a Tensor was given" in record.absent["babble/tensor"]
    assert record.absent["babble"] == "3"


class Mixin:
    def on_validation_start(self, *_):
        raise RuntimeError("in a mixin")


class Failing(Mixin, Probe):
    """Raises in a hook that it has from elsewhere."""

    subject = "failing"


class Leaving(OptimizerSteps, Probe):
    """Wants to leave."""

    subject = "leaving"

    def on_optimizer_step(self, *_):
        sys.exit(3)


class Giving(OptimizerSteps, Probe):
    """Says that the training has diverged."""

    subject = "giving"

    def on_optimizer_step(self, trainer, pl_module, step, *_):
        from rnnae_bench.probes import Diverged

        raise Diverged(step)


class Mute(Probe):
    """Gives nothing that could be read."""

    subject = "mute"

    def series(self):
        return None

    def measures(self):
        raise KeyError("measures")


def test_a_probe_that_raises_is_switched_off_and_the_trial_goes_on(tmp_path, plain):
    record, series = run(tmp_path, Failing, Leaving, Giving, Mute, Weights)
    assert record.status == "ok"
    assert record.metrics == plain[0].metrics
    assert record.absent == {
        "failing": "RuntimeError: in a mixin",
        "leaving": "SystemExit: 3",
        "giving": "Diverged: the training loss was not finite at step 1",
        "mute": "TypeError: a NoneType was given, and a mapping by name is wanted",
    }
    assert len(series["weights_norm"].steps) == 6


class Unkept(OptimizerSteps, Probe):
    """Keeps what no checkpoint holds."""

    subject = "unkept"
    kept = ("_seen",)
    _seen = frozenset()


def test_a_state_that_no_checkpoint_holds_switches_the_probe_off(tmp_path, plain):
    record, series = run(tmp_path, Unkept, Weights, checkpoint_every=1e-9)
    assert record.status == "ok"
    assert "is of frozenset, and a checkpoint holds" in record.absent["unkept"]
    assert len(series["weights_norm"].steps) == 6


class StopAt(OptimizerSteps):
    def on_optimizer_step_start(self, trainer, pl_module, step, batch):
        if step == 4:
            raise KeyboardInterrupt


def test_it_goes_on_from_a_checkpoint_with_the_same_probes_only(tmp_path):
    told = []
    whole = run(tmp_path / "whole", Weights)[1]
    store = Store(tmp_path / "runs")
    for probes, callbacks in (([Weights], [StopAt()]), ([Weights], []), ([Weights], [StopAt()]), ([], [])):
        outcome = trial(*probes).run(store, ["x"], callbacks, checkpoint_every=1e-9, tell=told.append)
        if probes and not callbacks:
            assert outcome.record.environment.resumed
            np.testing.assert_array_equal(outcome.series["weights_norm"].values, whole["weights_norm"].values)
    assert outcome.record.status == "ok"
    assert not outcome.record.environment.resumed
    assert "the probe weights was" in told[-1]


def test_it_shares_no_state_with_one_of_ours_of_the_same_class_name(tmp_path):
    def series(probe):
        return {probe.subject: Weights.series(probe)["weights_norm"]}

    cost = type("Cost", (Weights,), {"subject": "another", "series": series, "measures": Probe.measures})
    store = Store(tmp_path)
    for callbacks in ([StopAt()], []):
        outcome = trial(cost).run(store, ["x"], callbacks, checkpoint_every=1e-9)
    assert outcome.record.environment.resumed
    assert outcome.series["another"].steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert outcome.record.measures.training_seconds > 0


def test_members_of_a_vectorized_trial_are_measured_as_alone(tmp_path):
    alone = [trial(Weights, seed=seed).run(Store(tmp_path / "alone"), ["x"]) for seed in (0, 1)]
    members = [trial(Weights, seed=seed) for seed in (0, 1)]
    assert reason_apart(members[0]) is None
    together = VectorizedTrial(members).run(Store(tmp_path / "together"), ["x"])
    for one, two in zip(alone, together, strict=True):
        assert one.record.environment.probes == two.record.environment.probes
        np.testing.assert_allclose(
            one.series["weights_norm"].values, two.series["weights_norm"].values, rtol=1e-5, atol=0
        )
    assert not np.allclose(*(one.series["weights_norm"].values for one in together), rtol=1e-3)
    with pytest.raises(UserError, match="probes is \\['weights'\\] in one and \\[\\] in another"):
        VectorizedTrial([members[0], trial(seed=1)])


def test_one_that_does_not_say_that_it_can_has_its_trials_trained_by_themselves():
    assert reason_apart(trial(Babbler)) == "its probe 'babbler' measures one model at a time (it has no of_member)"


class PlainCallback(rnnae_bench.OptimizerSteps):
    """No probe."""


class Nameless(Probe):
    """Has no subject."""


class Grasping(Probe):
    """Wants our name."""

    subject = "loss"


class Essential(Probe):
    """Thinks itself important."""

    subject = "essence"
    essential = True


class Again(Weights):
    """Another of one subject."""


class Demanding(Probe):
    """Wants an argument.

    Args:
        size: Of something.
    """

    subject = "demand"

    def __init__(self, size: int) -> None:
        if size > 5:
            raise UserError(f"size is {size}; it must be 5 or less")


@pytest.mark.parametrize(
    ("probes", "said"),
    [
        ([PlainCallback], r"the probe 'plain_callback' .* is no rnnae_bench\.Probe"),
        ([Nameless], "has the subject ''; set a class attribute"),
        ([Grasping], "names what it measures loss, as the suite's own probes do"),
        ([Essential], "leave essential out"),
        ([Weights, Again], "the probes 'weights' and 'again' both name what they measure weights_norm; take one"),
        ([Weights, Weights], "the probe 'weights' is given twice"),
        (["weigths"], "there is no probe 'weigths'"),
        ([Demanding], "the probe 'demanding'.*size"),
    ],
)
def test_what_can_not_measure_is_refused_in_one_line(probes, said, tmp_path):
    with pytest.raises(UserError, match=said) as raised:
        rnnae_bench.run("copy:smoke", "gru", probes=probes, out=tmp_path / "runs")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "runs").exists()


def test_a_class_alone_is_no_list():
    with pytest.raises(UserError, match=r"write \[Weights\]"):
        asked_probes(Weights)


def test_a_class_is_measured_anew_each_time_and_a_skipped_record_builds_none(tmp_path):
    call = {"probes": [Weights], "task_options": OPTIONS["task"], "hidden_size": 4, "out": tmp_path, "progress": False}
    first, second = (rnnae_bench.run("copy:smoke", "gru", **call) for _ in range(2))
    assert first.record.started <= second.record.started
    assert len(Store(tmp_path).superseded()) == 1
    assert trial(Weights).unmeasured("skipped", "x").environment.probes.keys() == {"weights"}
    assert json.loads(first[0].path.read_text())["command"][-1] == "probes=weights"
