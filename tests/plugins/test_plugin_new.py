"""`plugin new`: what it writes is built, installed, examined and run as it is; what can't be written is refused."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rnnae_bench.cli import main
from rnnae_bench.plugins import scaffold

RUN = {
    "model": ["--task", "copy:smoke", "--model", "my_own"],
    "task": ["--task", "my_own:smoke", "--model", "gru", "--model.hidden_size", "16"],
    "probe": ["--task", "copy:smoke", "--model", "gru", "--probes", "my_own"],
}
CHECK = {"model": ["--task", "copy"], "task": [], "probe": []}
FILES = {
    "model": {"my_own/model.py"},
    "task": {"my_own/task.py", "my_own/task.yaml"},
    "probe": {"my_own/probe.py"},
}
EVERY = {"pyproject.toml", ".gitignore", "README.md", "my_own/__init__.py", "tests/test_my_own.py"}


@pytest.mark.parametrize("kind", RUN)
def test_what_is_new_installs_and_passes_at_once(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugin", "new", "my_own", f"--{kind}", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    folder = tmp_path / written["folder"]
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(written["files"])
    assert set(written["files"]) == EVERY | FILES[kind]

    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheels")]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    tested = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "error",
            "-W",
            "ignore::DeprecationWarning",
            "tests",
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert tested.returncode == 0, tested.stdout[-3000:]

    monkeypatch.syspath_prepend(tmp_path / "site")
    try:
        assert main(["check", kind, "my_own", *CHECK[kind], "--quick", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["passed"]
        steps = ["--task.protocol.max_steps", "20", "--task.protocol.evaluate_every", "10"]
        assert main(["run", *RUN[kind], *steps, "--json"]) == 0
    finally:
        for name in [one for one in sys.modules if one.partition(".")[0] == "my_own"]:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["My-Cell", "--model"], "write lower-case words with underscores between"),
        (["a__b", "--model"], "write lower-case words with underscores between"),
        (["x\n", "--model"], "write lower-case words with underscores between"),
        (["gru", "--task"], "the model 'gru' of rnnae-bench is installed"),
        (["copy", "--model"], "the task 'copy' of rnnae-bench is installed"),
        (["json", "--model"], "a module of its library"),
        (["lambda", "--model"], "a word of Python"),
        (["torch", "--probe"], "a package 'torch' is installed"),
        (["fine", "--model", "--out", "there"], "is there already"),
        (["fine", "--model", "--out", "no/where"], "there is no folder"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert main(["plugin", "new", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_nothing_is_left_where_the_disk_is_full(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = Path.write_text

    def fails(path, text, **options):
        if path.name == "README.md":
            raise OSError(28, "No space left on device")
        return before(path, text, **options)

    monkeypatch.setattr(scaffold.Path, "write_text", fails)
    assert main(["plugin", "new", "my_own", "--model"]) == 2
    assert "cannot write my-own: No space left on device; nothing was left there" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_it_says_what_was_written_and_what_is_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugin", "new", "my_own", "--model", "--out", "elsewhere"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("elsewhere has the model 'my_own':\n  pyproject.toml\n")
    assert "  rnnae-bench check model my_own\n" in said
