"""The exam of a probe: each check is proven by a probe that only it fails."""

import os
import random
import sys

import numpy as np
import pytest
import torch
from lightning import LightningModule

from rnnae_bench import OptimizerSteps, Probe, Series, StepBuffer
from rnnae_bench.errors import UserError
from rnnae_bench.testing import PROBE_CHECKS, ProbeCandidate, check_probe, examine_probe, require_passed
from rnnae_bench.testing.checks import examined
from rnnae_bench.testing.of_probes import traces

TASK = "copy:smoke[evaluation_size=8]"


class Sound(OptimizerSteps, Probe):
    """The norm of the weights; what each broken probe is one change away from."""

    subject = "sound"
    kept = ("norms",)

    def __init__(self) -> None:
        self.norms = StepBuffer()

    def on_optimizer_step(self, trainer, pl_module, step, loss, batch):
        squares = [one.detach().flatten(loss.dim()).square().sum(-1) for one in pl_module.parameters()]
        self.norms.append(step, sum(squares).sqrt())

    def of_member(self, member):
        mine = type(self)()
        mine.norms = self.norms.of_member(member)
        return mine

    def series(self):
        steps, values = self.norms.rows()
        return {"sound": Series(steps, values)} if len(steps) else {}

    def measures(self):
        _, values = self.norms.rows()
        return {"sound/last": float(values[-1]) if len(values) else None}


class WantsAnArgument(Sound):
    def __init__(self, size):
        super().__init__()


class AltersTheBatch(Sound):
    def on_optimizer_step_start(self, trainer, pl_module, step, batch):
        (batch[0] if isinstance(batch, list) else batch).inputs[0, 0] = 0


class DrawsFromTorch(Sound):
    def on_optimizer_step(self, *given):
        super().on_optimizer_step(*given)
        torch.rand(1)


class DrawsFromNumpy(Sound):
    def on_validation_end(self, *_):
        np.random.rand()


class SetsASeed(Sound):
    def on_optimizer_step_start(self, *_):
        torch.manual_seed(0)


class LeavesItInEvaluation(Sound):
    def on_optimizer_step_start(self, trainer, pl_module, step, batch):
        pl_module.eval()


class TakesAnotherThread(Sound):
    def on_validation_end(self, *_):
        torch.set_num_threads(torch.get_num_threads() + 1)


class SetsAVariable(Sound):
    def on_train_start(self, *_):
        os.environ["PROBED"] = "1"


class ScalesTheGradients(Sound):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        super().on_before_optimizer_step(trainer, pl_module, optimizer)
        for weight in pl_module.parameters():
            weight.grad.mul_(0.5)


class AddsToTheGradients(Sound):
    def on_optimizer_step(self, trainer, pl_module, step, *others):
        super().on_optimizer_step(trainer, pl_module, step, *others)
        sum(weight.square().sum() for weight in pl_module.parameters()).backward()


class Nudges(Sound):
    def on_optimizer_step(self, trainer, pl_module, *others):
        super().on_optimizer_step(trainer, pl_module, *others)
        with torch.no_grad():
            next(pl_module.parameters()).add_(1e-6)


class Freezes(Sound):
    def on_train_start(self, trainer, pl_module):
        for weight in [*pl_module.parameters()][:1]:
            weight.requires_grad_(False)


class ChangesTheDecay(Sound):
    def on_optimizer_step(self, trainer, *others):
        super().on_optimizer_step(trainer, *others)
        trainer.optimizers[0].param_groups[0]["weight_decay"] = 0.5


class StopsEarly(Sound):
    def on_validation_end(self, trainer, pl_module):
        trainer.should_stop = True


class AltersTheEvaluation(Sound):
    def on_test_batch_start(self, trainer, pl_module, batch, *_):
        batch.targets.zero_()


class Raises(Sound):
    def on_test_end(self, trainer, pl_module):
        raise RuntimeError("x")


class KeepsTheGraph(Sound):
    def __init__(self):
        super().__init__()
        self.held = {}

    def on_optimizer_step(self, trainer, pl_module, step, *others):
        super().on_optimizer_step(trainer, pl_module, step, *others)
        self.held["norm"] = [next(pl_module.parameters()).norm()]

    def on_train_end(self, *_):
        self.held.clear()


class SharesAList(Sound):
    shared = ()

    def __init__(self):
        super().__init__()
        self.before = len(type(self).shared)

    def on_optimizer_step(self, trainer, pl_module, step, *others):
        super().on_optimizer_step(trainer, pl_module, step, *others)
        type(self).shared = (*self.shared, step)

    def series(self):
        steps = np.arange(1, len(self.shared) + 1)
        return {"sound": Series(steps, steps * 1.0)}


class NamesOurs(Sound):
    def series(self):
        return {**super().series(), "loss": Series(np.array([1]), np.array([0.0]))}


class GoesBack(Sound):
    def series(self):
        return {"sound": Series(np.array([2, 1]), np.array([0.0, 1.0]))}


class IsNotFinite(Sound):
    def series(self):
        return {"sound": Series(np.array([1, 2]), np.array([1.0, np.nan]))}


class CountsBeyond(Sound):
    def series(self):
        return {"sound": Series(np.array([1, 900]), np.array([1.0, 2.0]))}


class GivesATensor(Sound):
    def measures(self):
        return {"sound/last": torch.ones(3)}


class CountsBatches(Sound):
    def on_optimizer_step(self, *_):
        pass

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.norms.append(trainer.global_step, torch.ones(()))

    of_member = None


class WantsAnEvaluation(Sound):
    def __init__(self):
        super().__init__()
        self.evaluations = []

    def on_validation_end(self, trainer, pl_module):
        self.evaluations.append(trainer.global_step)

    def measures(self):
        return {"sound/evaluated": self.evaluations[-1]}

    of_member = None


class WantsAStep(Sound):
    def measures(self):
        return {"sound/mean": 1 / len(self.norms.rows()[0])}


class KeepsNothing(Sound):
    kept = ()


class KeepsASet(Sound):
    kept = ("norms", "seen")
    seen = frozenset()


class GivesAllTheSame(Sound):
    def of_member(self, member):
        mine = type(self)()
        mine.norms = self.norms.of_member(0)
        return mine


@pytest.fixture(scope="module", autouse=True)
def once():
    """All trials without a probe are the same."""
    kept = {}

    def plain(candidate):
        key = (candidate.pair.label, candidate.pair.model_handle.name)
        if key not in kept:
            kept[key] = candidate.run(candidate.trial(probed=False))
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProbeCandidate, "plain", property(plain))
        yield


def test_pythons_random_numbers_are_looked_at_where_beartype_is_not(monkeypatch):
    monkeypatch.delitem(sys.modules, "beartype", raising=False)

    def taken():
        return [("now", {"random numbers": traces._digest(traces._random_numbers(LightningModule()))})]

    random.seed(0)
    before, same = taken(), taken()
    random.random()
    assert traces.first_difference(before, same) == ("", [])
    assert traces.first_difference(before, taken()) == ("now", ["random numbers"])


@pytest.mark.parametrize(
    ("probe", "check", "said"),
    [
        (WantsAnArgument, "construction", "size"),
        (AltersTheBatch, "batches", "the batch is another.*at the beginning of step 1$"),
        (DrawsFromTorch, "random numbers", "random numbers were drawn.*at the end of step 1$"),
        (DrawsFromNumpy, "random numbers", "after the evaluation at step 4$"),
        (SetsASeed, "random numbers", "a seed was set"),
        (LeavesItInEvaluation, "modes", r"evaluating\(module\); at the beginning of step 1$"),
        (TakesAnotherThread, "process", "a setting of torch"),
        (SetsAVariable, "process", "before the first step$"),
        (ScalesTheGradients, "gradients", "the gradients are others"),
        (AddsToTheGradients, "gradients", "at the end of step 1$"),
        (Nudges, "weights", "weights or buffers are others"),
        (Freezes, "weights", "or are not trained any more, before the first step"),
        (ChangesTheDecay, "optimiser", "the optimiser's settings"),
        (StopsEarly, "ending", "after the evaluation at step 4$"),
        (AltersTheEvaluation, "results", "with the probe the metrics on test are"),
        (Raises, "hooks", r"RuntimeError: x, in test_probe_exam\.py:\d+"),
        (KeepsTheGraph, "graphs", r"self\.held\['norm'\]\[0\] holds a graph"),
        (SharesAList, "instances", "12 steps in one trial and at 24 in the next"),
        (NamesOurs, "names", "'loss' would not be recorded: call it sound"),
        (GoesBack, "series", "sound: its steps don't rise"),
        (IsNotFinite, "series", r"not finite at the steps \[2\]"),
        (CountsBeyond, "series", "has a step 900"),
        (GivesATensor, "measures", "sound/last: a Tensor was given"),
        (CountsBatches, "step by step", "at the steps 4, 8, 12 in blocks, and at 1, 2, 3, .* one by one: derive"),
        (WantsAnEvaluation, "cut short", "without an evaluation: IndexError: list index out of range"),
        (WantsAStep, "fitted", "has no optimiser steps: ZeroDivisionError"),
        (KeepsNothing, "resumption", "lost the steps 1, 2, 3, 4: name in kept"),
        (KeepsASet, "resumption", "is of frozenset, and a checkpoint holds tensors"),
        (GivesAllTheSame, "members", "of member 1 is another than alone"),
    ],
)
def test_a_broken_probe_fails_the_check_that_is_for_it_and_no_other(probe, check, said, request):
    whole = request.config.getoption("--exam-whole")
    checks = [one for one in PROBE_CHECKS if whole or one.name == check or not one.is_slow]
    verdicts = examined(checks, ProbeCandidate(probe, TASK))
    (failed,) = [one for one in verdicts if one.outcome == "failed"]
    assert failed.check == check
    with pytest.raises(AssertionError, match=said):
        require_passed(verdicts)


def test_a_sound_one_passes_all_of_them():
    verdicts = examine_probe(Sound, TASK)
    assert {one.outcome for one in verdicts} == {"passed"}, [one for one in verdicts if one.outcome != "passed"]
    assert "12 steps took" in verdicts[-1].evidence


def test_it_is_examined_on_other_pairs_too():
    check_probe(Sound, "copy:smoke[evaluation_size=8]", "ngram")
    verdicts = {one.check: one for one in examine_probe(Sound, TASK, "ngram", slow=False)}
    assert verdicts["results"].outcome == "passed"
    with pytest.raises(UserError, match="does not support task"):
        check_probe(Sound, "copy", "dense_ae")
    with pytest.raises(UserError, match="there is no probe 'sond'"):
        check_probe("sond")
