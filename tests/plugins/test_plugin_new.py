"""`plugin new`: what it writes is built, installed, examined, run and tested as it is; what can't be is refused."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from rnnae_bench.cli import main
from rnnae_bench.contracts.card import load_card
from rnnae_bench.plugins.registry import GROUPS

FILES = {
    "model": {"my_model/model.py"},
    "task": {"my_task/task.py", "my_task/task.yaml", "my_task/README.md"},
    "probe": {"my_probe/probe.py"},
}
STEPS = 20
SHORT = {
    "check": ["--quick"],
    "run": [f"--task.protocol.max_steps={STEPS}", "--task.protocol.evaluate_every=10", "--trainer.accelerator=cpu"],
}
"""What makes a command of a README take less time."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a new plugin of each kind, and by kind what the command said of it."""
    root = tmp_path_factory.mktemp("new")
    said = {}
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        patch.chdir(root)
        for kind in GROUPS:
            assert main(["plugin", "new", f"my_{kind}", f"--{kind}", "--json"]) == 0
            said[kind] = json.loads(out.getvalue())
            out.seek(0)
            out.truncate()
    return root, said


@pytest.fixture(scope="module")
def visited(written, tmp_path_factory):
    """By kind, the folder with what came of building and installing a plugin, following its README, and its tests."""
    root, said = written
    out = tmp_path_factory.mktemp("visits")
    plan = []
    for kind in GROUPS:
        (out / kind).mkdir()
        commands = {one[0]: [*one, *SHORT[one[0]], "--json"] for one in commands_of(root / said[kind]["folder"])}
        assert commands.keys() == {"check", "run"}
        plan.append({"folder": str(root / said[kind]["folder"]), "commands": commands, "out": str(out / kind)})
    (out / "plan.json").write_text(json.dumps(plan))
    visit = [sys.executable, str(Path(__file__).with_name("visit_examples.py")), str(out / "plan.json")]
    subprocess.run(visit, cwd=out, check=True)
    return {kind: out / kind for kind in GROUPS}


def commands_of(folder):
    """The arguments of each command of the suite in a plugin's README."""
    return [
        shlex.split(line) for line in re.findall(r"^\$ rnnae-bench (.*)$", (folder / "README.md").read_text(), re.M)
    ]


@pytest.mark.parametrize("kind", GROUPS)
def test_what_is_new_is_all_that_it_says(written, kind):
    root, said = written
    folder = root / said[kind]["folder"]
    name = f"my_{kind}"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == set(said[kind]["files"])
    every = {"pyproject.toml", ".gitignore", "README.md", f"{name}/__init__.py", f"tests/test_{name}.py"}
    assert files == every | FILES[kind]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == folder.name == f"my-{kind}"
    assert project["entry-points"] == {GROUPS[kind]: {name: f"{name}.{kind}:My{kind.capitalize()}"}}
    readme = (folder / "README.md").read_text()
    assert said[kind]["next"][0] == f"pip install -e 'my-{kind}[test]'"
    assert "$ pip install -e '.[test]'" in readme
    assert [f"rnnae-bench {shlex.join(one)}" for one in commands_of(folder)] == said[kind]["next"][1::2]


@pytest.mark.parametrize("kind", GROUPS)
def test_what_is_new_is_installed_and_passes_at_once(visited, kind):
    out = visited[kind]
    everything = "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in sorted(out.glob("*.*")))
    assert (out / "exit_codes.json").is_file(), everything
    assert json.loads((out / "exit_codes.json").read_text()) == {"check": 0, "run": 0, "pytest": 0}, everything
    exam = json.loads((out / "check.out").read_text())
    assert (exam["kind"], exam["name"], exam["passed"]) == (kind, f"my_{kind}", True)
    (record,) = json.loads((out / "run.out").read_text())
    assert (record["status"], record["measures"]["steps"]) == ("ok", STEPS)
    if kind == "probe":
        assert record["environment"]["probes"] == {"my_probe": "my-probe 0.1.0"}
        assert record["measures"]["my_probe"] > 0
        assert "my_probe" in record["history"]["columns"]
    else:
        assert record["environment"]["plugins"]["my-" + kind] == "0.1.0"
    # One warning is of the visit: its process had imported jaxtyping before pytest.
    assert re.search(r"^\d+ passed(, 1 warning)? in", (out / "pytest.out").read_text().splitlines()[-1]), everything


def test_the_two_cards_of_a_task_agree(written):
    root, _ = written
    card = load_card(root / "my-task" / "my_task" / "task.yaml")
    rows = {
        (one.name, str(one.data["length"]), str(one.protocol.max_steps), str(one.protocol.batch_size))
        for one in card.variants.values()
    }
    readme = (card.path.with_name("README.md")).read_text()
    assert {tuple(re.findall(r"\w+", line)) for line in readme.splitlines() if re.match(r"\| s", line)} == rows


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["My-Cell", "--model"], "write lower-case words with underscores between"),
        (["a__b", "--model"], "write lower-case words with underscores between"),
        (["x\n", "--model"], "write lower-case words with underscores between"),
        (["", "--model"], "write lower-case words with underscores between"),
        (["a/b", "--model"], "write lower-case words with underscores between"),
        (["gru", "--task"], "the model 'gru' of rnnae-bench is installed"),
        (["copy", "--model"], "the task 'copy' of rnnae-bench is installed"),
        (["json", "--model"], "a module of its library"),
        (["lambda", "--model"], "a word of Python"),
        (["none", "--model"], "a word of Python"),
        (["torch", "--probe"], "a package 'torch' is installed"),
        (["pyyaml", "--model"], "is installed, and this package would replace it"),
        (["runs", "--model"], "a folder with another use"),
        (["tests", "--task"], "a folder with another use"),
        (["task_spec", "--model"], "a class 'TaskSpec' is imported by task_spec/model.py already"),
        (["model_candidate", "--model"], "is imported by tests/test_model_candidate.py already"),
        (["fine", "--model", "--out", "there"], "is there already"),
        (["fine", "--model", "--out", "nothing"], "is there already"),
        (["fine", "--model", "--out", "there/file"], "is there already"),
        (["fine", "--model", "--out", "there/file/fine"], "there is no folder"),
        (["fine", "--model", "--out", "no/where"], "there is no folder"),
        (["a" * 300, "--model"], "File name too long; nothing was left there"),
        (["a" * 300, "--model", "--out", "fine"], "File name too long; nothing was left there"),
    ],
    ids=lambda one: None if isinstance(one, str) else " ".join(one)[:40],
)
def test_what_cannot_be_is_refused_in_a_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    (tmp_path / "nothing").symlink_to("nowhere")
    assert main(["plugin", "new", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"there", "there/file", "nothing"}


@pytest.mark.parametrize("kinds", [[], ["--model", "--task"]], ids=" ".join)
def test_it_is_of_one_kind(kinds, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(["plugin", "new", "my_own", *kinds])
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_where_the_disk_is_full(full_disk, capsys):
    assert main(["plugin", "new", "my_own", "--model", "--out", str(full_disk / "my-own")]) == 2
    assert "my-own: No space left on device; nothing was left there" in capsys.readouterr().err
    assert [path.name for path in full_disk.iterdir()] == ["ballast"]


def test_nothing_is_left_where_it_is_interrupted(tmp_path, monkeypatch):
    before = Path.write_text

    def interrupted(path, text, **options):
        if path.name == "README.md":
            raise KeyboardInterrupt
        return before(path, text, **options)

    monkeypatch.setattr(Path, "write_text", interrupted)
    assert main(["plugin", "new", "my_own", "--model", "--out", str(tmp_path / "my-own")]) == 1
    assert not list(tmp_path.iterdir())


def test_it_says_what_was_written_and_what_is_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plugin", "new", "my_own", "--model", "--out", "it's here"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("it's here has the model 'my_own':\n  pyproject.toml\n")
    following = [shlex.split(line) for line in said.partition("next:\n")[2].splitlines()]
    assert following[0] == ["pip", "install", "-e", "it's here[test]"]
    assert following[1][:5] == ["rnnae-bench", "check", "model", "my_own", "--task"]
    assert following[2] == ["pytest", "it's here"]


def test_a_folder_is_as_open_as_any_other_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "another").mkdir()
    assert main(["plugin", "new", "my_own", "--model"]) == 0
    assert (tmp_path / "my-own").stat().st_mode == (tmp_path / "another").stat().st_mode
