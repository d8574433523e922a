"""The exam that every task, model and plugin's probe takes, check by check.

A plugin's author has each check as a test::

    import pytest
    from rnnae_bench.testing import MODEL_CHECKS, TASK_CHECKS, ModelCandidate, TaskCandidate, require_passed

    @pytest.fixture(scope="module")
    def my_model():
        return ModelCandidate(MyModel, "copy:smoke")

    @pytest.mark.parametrize("check", MODEL_CHECKS, ids=str)
    def test_my_model(check, my_model):
        require_passed([check.ask(my_model)])

(of a task `TaskCandidate` and `TASK_CHECKS`, of a probe `ProbeCandidate` and `PROBE_CHECKS`),

or the whole exam as one: ``check_model(MyModel, "copy:smoke")``, ``check_task(MyTask)`` and ``check_probe(MyProbe)``.
Each raises an ``AssertionError`` that says what is wrong and what the contract asks for. On the command line:
``rnnae-bench check model|task|probe NAME``.
"""

from rnnae_bench.testing.candidates import ModelCandidate, TaskCandidate
from rnnae_bench.testing.checks import Check, Verdict, examined, require_passed
from rnnae_bench.testing.model_exam import MODEL_CHECKS, check_model, examine_model
from rnnae_bench.testing.of_probes.candidate import ProbeCandidate
from rnnae_bench.testing.of_tasks.baselines import FROZEN_TOLERANCE
from rnnae_bench.testing.probe_exam import PROBE_CHECKS, check_probe, examine_probe
from rnnae_bench.testing.task_exam import TASK_CHECKS, check_task, examine_task

__all__ = [
    "FROZEN_TOLERANCE",
    "MODEL_CHECKS",
    "PROBE_CHECKS",
    "TASK_CHECKS",
    "Check",
    "ModelCandidate",
    "ProbeCandidate",
    "TaskCandidate",
    "Verdict",
    "check_model",
    "check_probe",
    "check_task",
    "examine_model",
    "examine_probe",
    "examine_task",
    "examined",
    "require_passed",
]
