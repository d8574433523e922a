"""The main job of five people, each as the commands that they would give: every line works and tells what it should."""

import re
import shlex
from pathlib import Path

import pytest

from rnnae_bench.cli import main

JOBS = Path(__file__).parent / "jobs"


@pytest.fixture
def does(tmp_path, monkeypatch, capsys):
    """Run the lines of a job in an empty folder; returns all that they printed."""
    monkeypatch.chdir(tmp_path)

    def does(job):
        said = ""
        for line in (JOBS / f"{job}.sh").read_text().splitlines():
            if line.startswith("#"):
                continue
            program, *arguments = shlex.split(line)
            assert program == "rnnae-bench"
            code = main(arguments)
            printed = capsys.readouterr()
            assert code == 0, f"{line}: {printed.err}"
            said += printed.out + printed.err
        return said

    return does


def test_the_student_sees_a_gradient_vanish(does, tmp_path):
    said = does("student")
    assert "h_t = f(W_ih x_t" in said
    assert "reached lag 5, which the task needs" in said
    assert (tmp_path / "pytorch.png").read_bytes().startswith(b"\x89PNG")


def test_the_researcher_learns_whether_her_cell_is_better(does, tmp_path, example):
    said = does("researcher")
    assert "leaky[hidden_size=16]" in said
    assert r"\toprule" in said
    assert "<svg" in (tmp_path / "gradients.svg").read_text()


def test_the_engineer_counts_her_trials(does):
    said = does("engineer")
    assert re.search(r"trials \n ─+ \n +2 ", said)


def test_the_maintainer_builds_a_site(does, tmp_path):
    does("maintainer")
    assert (tmp_path / "site" / "index.html").is_file()


def test_the_teacher_shows_what_a_model_gives_back(does, tmp_path):
    does("teacher")
    assert (tmp_path / "page.html").read_text().count("data:image/png;base64,") == 2
