"""The exam, taken by everything that is registered."""

import logging
from functools import cache

import pytest

from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Vectors
from rnnae_bench.plugins.registry import models, tasks
from rnnae_bench.testing import MODEL_CHECKS, ModelCandidate, check_model, examined, require_passed
from rnnae_bench.testing.design import drawn_pairs, refused, specs


@cache
def registered_pairs(whole: bool) -> list[tuple[str, str]]:
    """The pairs of registered models and tasks to examine: those drawn, or all that serve each other."""
    known = specs()
    served = {
        task: [model for model in models().names() if refused(model, spec) is None] for task, spec in known.items()
    }
    every = {(model, task) for task, serving in served.items() for model in serving}
    return sorted(every if whole else drawn_pairs(known, served))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Only where they are asked for: which pairs there are is seen from all tasks and models."""
    if "pair" in metafunc.fixturenames:
        metafunc.parametrize("pair", registered_pairs(metafunc.config.getoption("--exam-whole")), ids="-".join)


def test_a_registered_model_passes_on_a_registered_task(pair, request):
    """Without ``--exam-whole``, a whole trial is for the first task of each model; the suite has many others."""
    model, task = pair
    whole = request.config.getoption("--exam-whole")
    first = min(other for one, other in registered_pairs(whole) if one == model)
    asked = [one for one in MODEL_CHECKS if not one.is_slow and (one.name != "trial" or whole or task == first)]
    require_passed(examined(asked, ModelCandidate(model, f"{task}:smoke")))


@pytest.mark.parametrize("model", models().names())
def test_every_registered_model_serves_a_task_or_says_why_not(model):
    for task, spec in specs().items():
        reason = refused(model, spec)
        assert reason is None or (isinstance(reason, str) and reason.strip()), f"{model} on {task}: {reason!r}"


def test_pairs_are_drawn_so_that_every_task_and_every_form_is_met():
    tokens, vectors = Tokens(vocabulary=3, length=4), Vectors(features=2, length=4)
    every = TaskSpec("t", tokens, Classes(3), "every step", causal=True)
    last = TaskSpec("t", vectors, Classes(3), "last step", causal=True)
    known = {name: every if name < "e" else last for name in "abcdefgh"}
    served = {name: ["x"] if name == "c" else [] if name == "h" else ["x", "y", "z"] for name in known}
    drawn = drawn_pairs(known, served)
    assert {task for _, task in drawn} == set("abcdefg")
    for model in "xyz":
        for tasks_of_a_form in ("abcd", "efgh"):
            assert any(pair[0] == model and pair[1] in tasks_of_a_form for pair in drawn)
    assert len(drawn) < sum(map(len, served.values()))
    assert drawn == drawn_pairs(known, served)
    assert drawn_pairs({"a": every}, {"a": ["y"]}) == {("y", "a")}


def test_the_exam_of_a_model_says_nothing_else(caplog):
    log = logging.getLogger("lightning.pytorch")
    with caplog.at_level(logging.INFO, log.name):
        assert check_model("gru", "copy:smoke") is None
        assert log.level == logging.INFO
    assert not caplog.records


def test_every_registered_task_is_served_by_a_model():
    classes = [models().get(name).load() for name in models().names()]
    for name in tasks().names():
        spec = tasks().get(name).load().from_variant("smoke").spec
        assert any(model.supports(spec) is None for model in classes), name
