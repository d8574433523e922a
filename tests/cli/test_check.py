"""`check`: a table of verdicts, JSON, exit codes, mistakes in a line."""

import json

import pytest

from rnnae_bench.cli import main
from rnnae_bench.testing import MODEL_CHECKS, PROBE_CHECKS

BROKEN = """
import torch
from rnnae_bench import SequenceModel

class AlongTheBatch(SequenceModel):
    def __init__(self, spec):
        super().__init__(spec, 8)
        self.recurrence = torch.nn.GRU(self.embedding.features, 8)

    def states(self, inputs, lengths=None):
        return self.recurrence(inputs)[0]
"""


def test_a_model_that_passes_has_a_table(capsys):
    assert main(["check", "model", "gru[hidden_size=8]", "--task", "copy", "--quick"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("gru[hidden_size=8] on copy: ")
    assert "causality              ok" in said
    assert "padding                -" in said
    assert "two processes" not in said


def test_a_broken_one_is_found_with_exit_code_1(install, capsys):
    install("along", {"along.py": BROKEN}, models={"along": "along:AlongTheBatch"})
    assert main(["check", "model", "along", "--task", "sine", "copy[delay=2]", "--quick", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["name"], found["passed"]) == ("model", "along", False)
    assert [exam["on"] for exam in found["exams"]] == ["along on sine", "along on copy[delay=2]"]
    for exam in found["exams"]:
        assert [one["check"] for one in exam["checks"]] == [one.name for one in MODEL_CHECKS if not one.is_slow]
        failed = [one for one in exam["checks"] if one["outcome"] == "failed"]
        assert [one["check"] for one in failed] == ["rows alone"]
        assert "batch_first" in failed[0]["evidence"]


def test_a_task_is_examined_by_itself(capsys):
    assert main(["check", "task", "copy", "--quick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"]


PROBE = """
import torch
from rnnae_bench import Probe

class Loud(Probe):
    subject = "loud"

    def on_validation_end(self, trainer, pl_module):
        torch.rand(1)
"""


def test_a_probe_that_changes_the_training_is_found(install, capsys):
    install("loud", {"loud.py": PROBE}, probes={"loud": "loud:Loud"})
    asked = ["check", "probe", "loud", "--task", "copy[evaluation_size=8]", "--model", "rnn[hidden_size=4]"]
    assert main([*asked, "--quick", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["name"], found["passed"]) == ("probe", "loud", False)
    (exam,) = found["exams"]
    assert exam["on"] == "loud on rnn[hidden_size=4] on copy[evaluation_size=8]"
    assert [one["check"] for one in exam["checks"]] == [one.name for one in PROBE_CHECKS if not one.is_slow]
    assert [one["check"] for one in exam["checks"] if one["outcome"] == "failed"] == ["random numbers"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model", "gruu"], "did you mean 'gru'?"),
        (["task", "copi"], "did you mean 'copy'?"),
        (["task", "copy:tiny"], "no variant 'tiny'"),
        (["model", "gru", "--task", "copi"], "did you mean 'copy'?"),
        (["model", "gru[hidden_sise=3]", "--task", "copy"], "did you mean --model.hidden_size?"),
        (
            ["model", "dense_ae", "--task", "copy"],
            "model 'dense_ae' does not support task 'copy:smoke': this autoencoder reconstructs",
        ),
        (["task", "copy", "--task", "sine"], "--task is for models"),
        (["model", "gru", "--seconds", "0"], "seconds is 0"),
        (["probe", "loud"], "there is no probe 'loud'"),
        (["model", "gru", "--model", "rnn"], "--model is for probes"),
    ],
)
def test_a_mistake_is_told_in_a_line(arguments, said, capsys):
    assert main(["check", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
