"""Arrows between modules run one way: what may import what, read off the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import rnnae_tasks

import rnnae_bench

BENCH = Path(rnnae_bench.__file__).parent
TASKS = Path(rnnae_tasks.__file__).parent
TORCH = {"torch", "lightning", "torchmetrics", "torchvision"}
CONTRACTS = {
    "rnnae_bench.contracts.task",
    "rnnae_bench.contracts.spec",
    "rnnae_bench.contracts.card",
    "rnnae_bench.errors",
}


def imported(path: Path, everywhere: bool = True) -> Iterator[str]:
    """The modules that a file imports; with `everywhere`, inside functions too."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (BENCH / folder).rglob("*.py"))


@pytest.mark.parametrize("path", sources("results", "leaderboard"), ids=lambda path: path.stem)
def test_results_and_leaderboard_never_import_torch(path):
    modules = set(imported(path))
    assert not {module.partition(".")[0] for module in modules} & TORCH
    allowed = ("results", "leaderboard", "statistics", "errors", "limits", "nested", "schema")
    allowed = tuple(f"rnnae_bench.{name}" for name in allowed)
    assert all(module.startswith(allowed) for module in modules if module.startswith("rnnae_bench."))


@pytest.mark.parametrize("path", sources("statistics"), ids=lambda path: path.stem)
def test_statistics_are_of_numbers_not_of_records(path):
    modules = set(imported(path))
    assert not {module.partition(".")[0] for module in modules} & TORCH
    assert all(module.startswith("rnnae_bench.statistics") for module in modules if module.startswith("rnnae_bench"))


IN_WORKERS = {"worker"}
"""What runs in a worker process, where there is torch."""


@pytest.mark.parametrize(
    "path",
    [one for one in sources("executors", "sweep") if one.stem not in IN_WORKERS],
    ids=lambda path: f"{path.parent.name}.{path.stem}",
)
def test_a_sweep_is_driven_without_torch(path):
    modules = set(imported(path))
    assert not {module.partition(".")[0] for module in modules} & TORCH
    inside = {f"rnnae_bench.sweep.executors.{name}" for name in IN_WORKERS}
    assert not modules & (
        inside | {"rnnae_bench.trial.trial", "rnnae_bench.sweep.executors.planning", "rnnae_bench.trial.pair"}
    )
    assert "rnnae_bench.trial.process_state" not in modules


@pytest.mark.parametrize("path", sorted(TASKS.rglob("*.py")), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_tasks_import_the_contracts_only(path):
    suite = {module for module in imported(path) if module.startswith("rnnae_bench")}
    assert suite <= CONTRACTS


@pytest.mark.parametrize("path", sources("models"), ids=lambda path: path.stem)
def test_models_know_nothing_of_what_runs_them(path):
    suite = {module for module in imported(path) if module.startswith("rnnae_bench.")}
    assert suite <= {
        "rnnae_bench.errors",
        "rnnae_bench.contracts.model",
        "rnnae_bench.contracts.search_space",
        "rnnae_bench.contracts.spec",
        "rnnae_bench.models.initialization",
        "rnnae_bench.recurrence",
        "rnnae_bench.recurrence.stack",
    }


@pytest.mark.parametrize("path", sources("probes"), ids=lambda path: path.stem)
def test_probes_know_nothing_of_trials(path):
    suite = {module for module in imported(path) if module.startswith("rnnae_bench.")}
    allowed = (
        "rnnae_bench.contracts.card",
        "rnnae_bench.training.clipping",
        "rnnae_bench.errors",
        "rnnae_bench.contracts.heads",
        "rnnae_bench.contracts.model",
        "rnnae_bench.probes",
        "rnnae_bench.recurrence",
        "rnnae_bench.records.history",
        "rnnae_bench.records.profile",
        "rnnae_bench.contracts.spec",
        "rnnae_bench.contracts.task",
    )
    assert all(module.startswith(allowed) for module in suite)


@pytest.mark.parametrize("path", sources("recurrence"), ids=lambda path: path.stem)
def test_recurrences_know_nothing_of_the_suite(path):
    modules = set(imported(path))
    assert "lightning" not in {module.partition(".")[0] for module in modules}
    suite = {module for module in modules if module.startswith("rnnae_bench")}
    assert all(module.startswith(("rnnae_bench.recurrence", "rnnae_bench.errors")) for module in suite)
