"""The exam of a model: each check is proven by a model that only it fails."""

from pathlib import Path

import pytest
import torch
from lightning import LightningModule
from rnnae_tasks.copy.datamodule import CopyTask
from torch import nn

from rnnae_bench import Optimization, SequenceModel
from rnnae_bench.errors import UserError
from rnnae_bench.models.dense_autoencoder import DenseAutoencoder
from rnnae_bench.models.encoder_decoder import Seq2Seq
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.testing import MODEL_CHECKS, ModelCandidate, check_model, examine_model, require_passed


class Cell(SequenceModel):
    """h_t = tanh(W x_t + U h_(t-1)); what each broken model is one change away from."""

    def __init__(self, spec, optimization=Optimization()):  # noqa: B008 (frozen)
        super().__init__(spec, 8, optimization)
        self.drive = nn.Linear(self.embedding.features, 8)
        self.recurrent = nn.Linear(8, 8, bias=False)

    def states(self, inputs, lengths=None):
        state, states = inputs.new_zeros(len(inputs), 8), []
        for drive in self.drive(inputs).unbind(1):
            state = self.after(drive, state)
            states.append(state)
        return torch.stack(states, dim=1)

    def after(self, drive, state):
        return torch.tanh(drive + self.recurrent(state))


class Stepped(Cell):
    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 8)

    def step(self, inputs, state):
        state = self.after(self.drive(inputs), state)
        return state, state


class NeedsASize(Cell):
    def __init__(self, spec, hidden_size):
        super().__init__(spec)


class AnswersOneStepShort(Cell):
    def forward(self, inputs, lengths=None):
        return super().forward(inputs, lengths)[:, 1:]


class AnswersNothing(Cell):
    def forward(self, inputs, lengths=None):
        return super().forward(inputs, lengths) / 0


class LosesItsLoss(Cell):
    def training_loss(self, batch):
        return super().training_loss(batch) * float("nan")


class DrawsFromItsOwnGenerator(Cell):
    def __init__(self, spec):
        super().__init__(spec)
        generator = torch.Generator()
        generator.seed()
        nn.init.normal_(self.head.affine.weight, generator=generator)


class SetsASeed(Cell):
    def __init__(self, spec):
        torch.manual_seed(0)
        super().__init__(spec)


class SetsASeedInForward(Cell):
    def forward(self, inputs, lengths=None):
        torch.manual_seed(0)
        return super().forward(inputs, lengths)


class CarriesItsStateInEvaluation(Cell):
    carried = 0.0

    def states(self, inputs, lengths=None):
        states = super().states(inputs, lengths)
        if not self.training:
            states = states + self.carried
            self.carried = states.mean(dim=(0, 1)).detach()
        return states


class DropsInEvaluation(Cell):
    def states(self, inputs, lengths=None):
        return nn.functional.dropout(super().states(inputs, lengths), 0.1)


class DrawsInTraining(Cell):
    def states(self, inputs, lengths=None):
        states = super().states(inputs, lengths)
        if not self.training:
            return states
        generator = torch.Generator()
        generator.seed()
        return states + 0.1 * torch.randn(states.shape, generator=generator)


class RunsAlongTheBatch(Cell):
    def __init__(self, spec):
        super().__init__(spec)
        self.recurrence = nn.GRU(8, 8)
        self.recurrent = None

    def states(self, inputs, lengths=None):
        return self.recurrence(self.drive(inputs))[0]


class CentresTheBatch(Cell):
    def states(self, inputs, lengths=None):
        states = super().states(inputs, lengths)
        return states - states.mean(dim=0)


class Squeezes(Cell):
    def forward(self, inputs, lengths=None):
        return super().forward(inputs, lengths).squeeze(0)


class AddsARowsPlace(Cell):
    def forward(self, inputs, lengths=None):
        places = torch.arange(len(inputs), dtype=torch.float32)
        return super().forward(inputs, lengths) + 0.01 * places[:, None, None]


class CarriesItsStateInTraining(Cell):
    carried = None

    def states(self, inputs, lengths=None):
        states = super().states(inputs, lengths)
        if self.training:
            before, self.carried = self.carried, states[:, -1:].detach()
            return states if before is None else states + before
        return states


class StatefulGRU(GRU):
    def __init__(self, spec, forgets=False, shares=False):
        super().__init__(spec, hidden_size=8)
        self.forgets, self.shares, self.carried = forgets, shares, None

    def states(self, inputs, lengths=None):
        if not self.training:
            if self.shares:
                self.carried = None
            return super().states(inputs, lengths)
        carried = self.carried if self.carried and self.carried[0].shape[-2] == len(inputs) else None
        states, final = self.recurrence(inputs, lengths, carried)
        self.carried = tuple(one.detach() * (0.5 if self.forgets else 1.0) for one in final)
        return states


class HandsOnHalfItsState(StatefulGRU):
    def __init__(self, spec):
        super().__init__(spec, forgets=True)


class LosesItsStateInEvaluation(StatefulGRU):
    def __init__(self, spec):
        super().__init__(spec, shares=True)


class ReadsTheNextStep(Cell):
    def states(self, inputs, lengths=None):
        return super().states(torch.cat((inputs[:, 1:], inputs[:, -1:]), dim=1), lengths)


class PeeksAtTheLastStep(Cell):
    def states(self, inputs, lengths=None):
        states = super().states(inputs, lengths)
        return states + 0.01 * self.drive(inputs[:, -1:])


class PeeksInTraining(PeeksAtTheLastStep):
    def states(self, inputs, lengths=None):
        return super().states(inputs, lengths) if self.training else Cell.states(self, inputs, lengths)


class PeeksOnceTrained(Cell):
    def __init__(self, spec):
        super().__init__(spec)
        self.gate = nn.Parameter(torch.zeros(8))

    def states(self, inputs, lengths=None):
        return super().states(inputs, lengths) + self.gate * self.drive(inputs[:, -1:])


class ReadsThePadding(Cell):
    def forward(self, inputs, lengths=None):
        return super().forward(inputs)


class CountsThePadding(Cell):
    def states(self, inputs, lengths=None):
        return super().states(inputs, lengths) + 0.01 * inputs.shape[1]


class SmallSeq2Seq(Seq2Seq):
    def __init__(self, spec):
        super().__init__(spec, hidden_size=8)


class SeesItsTarget(SmallSeq2Seq):
    def forward(self, inputs, lengths=None, targets=None):
        found = super().forward(inputs, lengths, targets)
        return found if targets is None else found + self.feedback(targets.clamp(min=0))


class ForgetsItsState(SmallSeq2Seq):
    def decode(self, previous, state):
        return super().decode(previous, state)[0], state


class StepsOtherwise(Stepped):
    def step(self, inputs, state):
        output, state = super().step(inputs, state)
        return output + 1e-2, state


class SaysAnotherSize(Stepped):
    state_size = 9


class SaysAnotherSizeOfItsCode(DenseAutoencoder):
    state_size = 9


class ResumesWithoutItsState(GRU):
    def __init__(self, spec):
        super().__init__(spec, hidden_size=8)

    def resume(self, inputs, state=None):
        return super().resume(inputs)


class SmallGRU(GRU):
    def __init__(self, spec):
        super().__init__(spec, hidden_size=8)


class SaysAnotherSizeThanItResumes(SmallGRU):
    state_size = 16


class HasAnIdleParameter(Cell):
    def __init__(self, spec):
        super().__init__(spec)
        self.idle = nn.Parameter(torch.zeros(2))


class DetachesAWeight(Cell):
    def __init__(self, spec):
        super().__init__(spec)
        self.gain = nn.Parameter(torch.ones(8))

    def states(self, inputs, lengths=None):
        return super().states(inputs, lengths) * (self.gain.detach() + 0 * self.gain)


class LeavesAWeightOut(Cell):
    def configure_optimizers(self):
        return torch.optim.Adam([*self.drive.parameters(), *self.recurrent.parameters()])


class StandsStill(Cell):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class DetachesItsState(Cell):
    def after(self, drive, state):
        return super().after(drive, state.detach())

    @property
    def recurrent_is_learned(self):
        return True


class SkipsASteps(Cell):
    def states(self, inputs, lengths=None):
        kept = torch.ones(inputs.shape[1])
        kept[3] = 0.0
        return super().states(inputs * kept[:, None], lengths)


class WatchesOutsideTheGraph(Cell):
    def states(self, inputs, lengths=None):
        states = super().states(inputs, lengths)
        self.watch(states.detach(), "all/h")
        return states


class DoublesTheLoss(Cell):
    def training_step(self, batch, batch_idx):
        return 2 * super().training_step(batch, batch_idx)


class LearnsInEvaluation(Cell):
    def __init__(self, spec):
        super().__init__(spec)
        self.register_buffer("shift", torch.zeros(()))

    def states(self, inputs, lengths=None):
        states = super().states(inputs, lengths)
        if self.training:
            return states + self.shift
        self.shift += 0.1
        return states


class LearnsFromTheValidationSet(Cell):
    def training_loss(self, batch):
        held_out = self.task.evaluation_set("validation").rows(slice(0, 8))
        return super().training_loss(batch) + super().training_loss(held_out)


class ReturnsTheLoss(Cell):
    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)


class HidesAScale(Cell):
    def __init__(self, spec):
        super().__init__(spec)
        self.scale = 1 + torch.rand(()).item()

    def forward(self, inputs, lengths=None):
        return super().forward(inputs, lengths) * self.scale


class RoundsToOne(Cell):
    def forward(self, inputs, lengths=None):
        return torch.log(1 - torch.sigmoid(super().forward(inputs, lengths) + 8))


class NormalisesTheBatch(Cell):
    def __init__(self, spec):
        super().__init__(spec)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, inputs, lengths=None):
        states = self.states(self.embedding(inputs), lengths)
        last = states[torch.arange(len(inputs)), lengths - 1]
        return self.head(self.norm(last))


class FailsAtTheTest(Cell):
    def on_test_start(self):
        raise KeyError("the gate that was wanted")


BROKEN = [
    (NeedsASize, "copy", "construction", "from the spec alone; give hidden_size a default"),
    (AnswersOneStepShort, "copy", "prediction", "must be (32, 8, 9), and is (32, 7, 9)"),
    (AnswersNothing, "copy", "prediction", "must be finite"),
    (LosesItsLoss, "copy", "training", "must be finite"),
    (DrawsFromItsOwnGenerator, "copy", "first weights", "the same seed must give the same weights"),
    (SetsASeed, "copy", "first weights", "another seed must give other weights"),
    (SetsASeedInForward, "copy", "global seeds", "forward sets the seed of torch"),
    (CarriesItsStateInEvaluation, "copy", "repetition", "carry no state from batch to batch"),
    (DropsInEvaluation, "copy", "repetition", "draw no random numbers"),
    (DrawsInTraining, "copy", "seeds", "from the global generators only"),
    (RunsAlongTheBatch, "copy", "rows alone", "batch_first=True is missing"),
    (RunsAlongTheBatch, "names", "rows alone", "batch_first=True is missing"),
    (RunsAlongTheBatch, "sine", "rows alone", "batch_first=True is missing"),
    (RunsAlongTheBatch, "modular", "rows alone", "batch_first=True is missing"),
    (CentresTheBatch, "sine", "rows alone", "normalised together"),
    (Squeezes, "copy", "evaluation batches", "squeeze drops it"),
    (AddsARowsPlace, "copy", "evaluation batches", "a row's place"),
    (CarriesItsStateInTraining, "copy", "carry over", "do not continue each other"),
    (HandsOnHalfItsState, "charlm", "carry over", "is not that after the one before"),
    (LosesItsStateInEvaluation, "charlm", "evaluation between", "keep the state of training apart"),
    (ReadsTheNextStep, "copy", "causality", "before 1 with the inputs from 1 on"),
    (PeeksAtTheLastStep, "copy", "causality", "in evaluation mode before"),
    (PeeksInTraining, "copy", "causality", "in training mode before"),
    (PeeksOnceTrained, "copy", "causality", "in evaluation mode after"),
    (ReadsThePadding, "names", "padding", "a prediction changes with the padding"),
    (CountsThePadding, "names", "padding", "with how much padding there is"),
    (SeesItsTarget, "dates", "teacher forcing", "its own target or a later one"),
    (ForgetsItsState, "dates", "free running", "hand its state on"),
    (StepsOtherwise, "copy", "forms", "StepsOtherwise.states and StepsOtherwise.step disagree at 1 steps"),
    (SaysAnotherSize, "copy", "state size", "state_size is 9, and SaysAnotherSize.step hands 8 numbers on"),
    (SaysAnotherSizeOfItsCode, "denoise", "state size", "and its code of a row has"),
    (SaysAnotherSizeThanItResumes, "copy", "state size", "state_size is 16, and SaysAnotherSizeThanItResumes.resume"),
    (ResumesWithoutItsState, "copy", "resumption", "hand all of the state on"),
    (HasAnIdleParameter, "copy", "weights reached", "'idle' got no gradient"),
    (DetachesAWeight, "copy", "weights reached", "'gain' is zero, and the prediction depends on it"),
    (LeavesAWeightOut, "copy", "weights held", "no optimiser holds 'head.affine.weight', 'head.affine.bias'"),
    (StandsStill, "copy", "weights held", "is the learning rate zero?"),
    (DetachesItsState, "copy", "inputs reached", "reaches the inputs of 7 of 8 steps"),
    (SkipsASteps, "copy", "inputs reached", "does not depend on the inputs of 1 of the last 8 steps"),
    (WatchesOutsideTheGraph, "copy", "watched", "outside the graph"),
    (DoublesTheLoss, "copy", "loss", "or declare the other one: own_loss"),
    (LearnsInEvaluation, "copy", "evaluations apart", "between optimiser steps changes"),
    (LearnsFromTheValidationSet, "copy", "evaluation rows apart", "learns from train_batch alone"),
    (ReturnsTheLoss, "copy", "evaluation steps", "validation_step must return"),
    (HidesAScale, "copy", "saving", "keep all state in parameters and registered buffers"),
    (RoundsToOne, "copy", "half precision", "are not finite"),
    (NormalisesTheBatch, "names", "shards", "on two devices it would learn otherwise"),
    (FailsAtTheTest, "copy", "trial", "the gate that was wanted"),
]


@pytest.mark.parametrize(
    ("model", "task", "check", "said"), BROKEN, ids=[f"{one[0].__name__}-{one[1]}" for one in BROKEN]
)
def test_a_broken_model_fails_the_check_that_is_for_it_and_no_other(model, task, check, said):
    verdicts = examine_model(model, f"{task}:smoke", slow=False)
    failed = {one.check: one.evidence for one in verdicts if one.outcome == "failed"}
    assert list(failed) == [check], failed
    assert said in failed[check]


def test_the_documentation_has_the_checks():
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    table = page.partition("| check | question |\n| --- | --- |\n")[2].partition("\n\n")[0]
    assert table.splitlines() == [f"| {check.name} | {check.question} |" for check in MODEL_CHECKS]


def test_each_check_is_proven():
    proven = {check for _, _, check, _ in BROKEN} | {"two processes"}
    assert proven == {check.name for check in MODEL_CHECKS}


@pytest.mark.parametrize("task", ["copy", "names", "sine", "charlm"])
@pytest.mark.parametrize("model", [Stepped, SmallGRU])
def test_what_they_break_passes(model, task):
    require_passed(examine_model(model, f"{task}:smoke", slow=False))


def test_a_state_that_is_rightly_carried_passes():
    verdicts = {one.check: one for one in examine_model(StatefulGRU, "charlm:smoke", slow=False)}
    require_passed([*verdicts.values()])
    assert verdicts["carry over"].evidence.startswith("carried: two batches are as one")
    assert verdicts["evaluation between"].outcome == "passed"


class RefusesInSilence(Cell):
    @classmethod
    def supports(cls, spec, **hyperparameters):
        return ""


def test_a_refusal_has_a_reason():
    with pytest.raises(AssertionError, match="None or a reason"):
        check_model(RefusesInSilence, "copy:smoke")
    assert "autoencoder" in check_model("dense_ae", "copy:smoke")


def test_a_task_that_is_made_already_is_left_as_it_was():
    task = CopyTask.from_variant("smoke")
    before = task.protocol
    assert check_model(Cell, task) is None
    assert task.trainer is None
    assert task.protocol is before


def test_a_check_is_a_function_of_its_own():
    (causality,) = (check for check in MODEL_CHECKS if str(check) == "causality")
    assert causality.question.startswith("Where the task is causal:")
    verdict = causality.ask(ModelCandidate(PeeksAtTheLastStep, "copy:smoke"))
    with pytest.raises(AssertionError, match="the task is causal"):
        require_passed([verdict])


class TakesItsTime(Cell):
    def states(self, inputs, lengths=None):
        while True:
            inputs = inputs + 0


def test_a_check_has_a_time_limit():
    (verdict,) = (one for one in examine_model(TakesItsTime, "copy:smoke", seconds=0.5) if one.outcome == "failed")
    assert verdict.evidence == "the check 'prediction' takes more than 0.5 s"


class FailsInALine(Cell):
    def states(self, inputs, lengths=None):
        return inputs["gate"]


def test_what_fails_names_the_authors_line():
    (verdict,) = (one for one in examine_model(FailsInALine, "copy:smoke") if one.outcome == "failed")
    assert "in test_model_exam.py:" in verdict.evidence


class Plain(LightningModule):
    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.recurrence = nn.GRU(spec.inputs.vocabulary, 8, batch_first=True)
        self.out = nn.Linear(8, spec.outputs.count)

    def forward(self, inputs, lengths=None):
        vectors = nn.functional.one_hot(inputs, self.spec.inputs.vocabulary).float()
        return self.out(self.recurrence(vectors)[0])

    def training_step(self, batch, batch_idx):
        return self.trainer.datamodule.loss(self(batch.inputs), batch)

    def validation_step(self, batch, batch_idx):
        prediction = self(batch.inputs)
        self.log("seen", self.trainer.datamodule.loss(prediction, batch), batch_size=len(prediction))
        return prediction

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class PlainWithAnotherLoss(Plain):
    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch.inputs).flatten(0, 1), batch.targets.flatten()) + 1


class PlainThatSaysSo(PlainWithAnotherLoss):
    own_loss = "cross-entropy of all steps, and one"


def test_a_plain_lightning_module_takes_part_and_declares_another_loss():
    require_passed(examine_model(Plain, "copy:smoke", slow=False))
    failed = [one for one in examine_model(PlainWithAnotherLoss, "copy:smoke", slow=False) if one.outcome == "failed"]
    assert [one.check for one in failed] == ["loss"]
    require_passed(examine_model(PlainThatSaysSo, "copy:smoke", slow=False))


INSTALLED = """
import torch
from rnnae_bench.models.recurrent import GRU

class FailsOnTheSecond(GRU):
    def __init__(self, spec, hidden_size: int = 8):
        super().__init__(spec, hidden_size)

    def on_train_start(self):
        if self.trainer.world_size > 1:
            raise RuntimeError("only one process was thought of")
"""


def test_a_model_that_fails_on_two_processes_is_found(install, tmp_path, monkeypatch):
    install(
        "thinks-of-one", {"thinks_of_one.py": INSTALLED}, models={"thinks_of_one": "thinks_of_one:FailsOnTheSecond"}
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (check,) = (one for one in MODEL_CHECKS if one.is_slow)
    verdict = check.ask(ModelCandidate("thinks_of_one", "copy:smoke"))
    assert verdict.outcome == "failed"
    assert "on 2 processes the trial fails" in verdict.evidence
    assert "only one process was thought of" in verdict.evidence


class CannotSay(Cell):
    @classmethod
    def supports(cls, spec, **hyperparameters):
        raise KeyError("gates")


class LeavesThePython(Cell):
    def __init__(self, spec):
        raise SystemExit(3)


def test_what_fails_before_the_exam_is_told_in_a_line():
    with pytest.raises(UserError, match="can't say whether it supports task 'copy:smoke': KeyError: 'gates'"):
        examine_model(CannotSay, "copy:smoke")
    verdicts = examine_model(LeavesThePython, "copy:smoke")
    (failed,) = (one for one in verdicts if one.outcome == "failed")
    assert (failed.check, failed.evidence[:12]) == ("construction", "SystemExit: ")
