"""Commands that only describe must not pay for torch."""

import subprocess
import sys

import pytest

COMMANDS = [
    ["--help"],
    ["horizon", "--help"],
    ["list"],
    ["list", "--json"],
    ["show", "gru"],
    ["show", "gru", "--bibtex"],
    ["show", "task", "copy"],
    ["truth", "--list"],
    ["completion", "bash"],
    ["docs"],
    ["docs", "--for-agents"],
]
HEAVY = ["jsonargparse", "lightning", "numpy", "torch", "torchmetrics"]


def imported_by(code):
    """The heavy modules that a fresh interpreter has imported after running the code."""
    report = f"import sys; print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return done.stderr.split()


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_describing_imports_no_torch(arguments):
    assert imported_by(f"from rnnae_bench.cli import main\nassert main({arguments}) == 0") == []


def test_the_help_of_run_imports_no_torch():
    arguments = ["run", "--task", "copy", "--model", "gru", "--help"]
    found = imported_by(f"from rnnae_bench.cli import main\nassert main({arguments}) == 0")
    assert not {"lightning", "torch", "torchmetrics"} & set(found)


def test_writing_a_plugin_imports_no_torch(tmp_path):
    arguments = ["plugin", "new", "my_own", "--task", "--out", str(tmp_path / "new")]
    assert imported_by(f"from rnnae_bench.cli import main\nassert main({arguments}) == 0") == []


@pytest.mark.parametrize("words", [["run", "--task", "copy", "--model", "gru"], ["sweep"], ["reproduce"], ["probe"]])
def test_completing_imports_nothing_heavy(words):
    code = f"from rnnae_bench.cli.completing import parser_for\nparser_for({words})"
    assert set(imported_by(code)) <= {"numpy"}


def test_importing_the_package_imports_no_torch():
    assert imported_by("import rnnae_bench") == []


def test_what_is_looked_for_would_be_seen():
    assert imported_by("import sys, types; sys.modules['torch'] = types.ModuleType('torch')") == ["torch"]
