"""The packages of examples/: each built, installed, listed, examined and run as its README says, and tested."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = 4
"""Optimiser steps of a run that a README shows; between its evaluations are half of them."""


@dataclass(frozen=True)
class Example:
    """A package of examples/."""

    folder: Path

    def __str__(self) -> str:
        return self.folder.name

    @cached_property
    def project(self):
        return tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]

    @property
    def offers(self):
        """The kind of each name that it registers."""
        groups = self.project["entry-points"].items()
        return {name: group.removeprefix("rnnae_bench.").removesuffix("s") for group, names in groups for name in names}

    @property
    def absent(self):
        """What it needs and is not installed here."""
        return [name for one in self.project["dependencies"] if not _is_installed(name := Requirement(one).name)]

    def commands(self, out):
        """The arguments of each command of its README, shorter and told to say what they found; and of ``list``."""
        lines = re.findall(r"^\$ rnnae-bench (.*)$", (self.folder / "README.md").read_text(), re.MULTILINE)
        protocol = {"max_steps": STEPS, "evaluate_every": STEPS // 2}
        short = [*(f"--task.protocol.{name}={value}" for name, value in protocol.items()), "--trainer.accelerator=cpu"]
        more = {"run": [*short, "--out", str(out / "runs")], "check": ["--quick"], "probe": []}
        found = [["list"], *map(shlex.split, lines)]
        return {
            f"{number} {arguments[0]}": [*arguments, *more.get(arguments[0], []), "--json"]
            for number, arguments in enumerate(found)
        }


def _is_installed(name):
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


ALL = [Example(path.parent) for path in sorted(EXAMPLES.glob("*/pyproject.toml"))]


@pytest.fixture(scope="module")
def visited(tmp_path_factory):
    """By example, what came of a visit: its exit codes, and what each command said."""
    root, plan = tmp_path_factory.mktemp("examples"), []
    for example in ALL:
        out = root / str(example)
        out.mkdir()
        if not example.absent:
            plan.append({"folder": str(example.folder), "commands": example.commands(out), "out": str(out)})
    (root / "plan.json").write_text(json.dumps(plan))
    visit = [sys.executable, str(Path(__file__).with_name("visit_examples.py")), str(root / "plan.json")]
    subprocess.run(visit, cwd=root, env={**os.environ, "KERAS_HOME": str(root)}, check=True)
    return root


@pytest.fixture
def said(visited, request):
    """What came of the visit of an example, by the name of the file."""
    example = request.param
    if example.absent:
        pytest.skip(f"{', '.join(example.absent)} is not installed; the extra 'test' has it")
    return {path.name: path.read_text() for path in sorted((visited / str(example)).glob("*.*")) if path.is_file()}


def answers(said, command):
    """What each of an example's commands of a name found."""
    return [json.loads(text) for name, text in said.items() if re.fullmatch(rf"\d+ {command}\.out", name)]


@pytest.mark.parametrize(("example", "said"), [(one, one) for one in ALL], indirect=["said"], ids=map(str, ALL))
def test_an_example_is_installed_examined_tested_and_run(example, said):
    everything = "\n".join(f"{name}:\n{text}" for name, text in said.items())
    codes = json.loads(said.get("exit_codes.json", "{}"))
    assert codes, everything
    assert set(codes.values()) == {0}, everything
    (entries,) = answers(said, "list")
    ours = {one["name"]: one for one in entries if one["distribution"] == example.project["name"]}
    assert {name: one["kind"] for name, one in ours.items()} == example.offers
    assert {(one["status"], one["version"]) for one in ours.values()} == {("ok", "1.0.0")}
    exams = answers(said, "check")
    assert {exam["name"] for exam in exams} <= example.offers.keys()
    assert {exam["kind"] for exam in exams} == set(example.offers.values())
    for exam in exams:
        assert exam["passed"]
        assert all(any(one["outcome"] == "passed" for one in each["checks"]) for each in exam["exams"])
    runs = answers(said, "run")
    assert runs
    for (record,) in runs:
        assert (record["status"], record["measures"]["steps"]) == ("ok", STEPS)
        there = record["environment"]
        distributions = {f"{name} {of}" for name, of in there["plugins"].items()} | {*there.get("probes", {}).values()}
        assert f"{example.project['name']} 1.0.0" in distributions
    assert re.search(r"^\d+ passed", said["pytest.out"].splitlines()[-1])


def test_the_readmes_table_has_each_example():
    table = (EXAMPLES / "README.md").read_text()
    for folder in sorted(path.parent for path in EXAMPLES.glob("*/README.md")):
        assert f"]({folder.name}/)" in table


def test_the_model_from_pypi_takes_under_forty_lines():
    assert len((EXAMPLES / "mingru" / "rnnae_bench_mingru.py").read_text().splitlines()) < 40
