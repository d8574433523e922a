"""The guide for coding agents: its commands run, print JSON of the shapes that it says, and are all that there are."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import msgspec
import pytest
import yaml

from rnnae_bench.cli import COMMANDS, main
from rnnae_bench.cli.completing import parser_for
from rnnae_bench.cli.docs import guide, project_urls
from rnnae_bench.cli.leaderboard import ACTIONS
from rnnae_bench.cli.list import Entry
from rnnae_bench.cli.plugin import ACTIONS as PLUGIN_ACTIONS
from rnnae_bench.plugins.registry import Kind
from rnnae_bench.records import record
from rnnae_bench.records.record import Direction, Status
from rnnae_bench.testing.checks import Verdict

ROOT = Path(__file__).parents[2]
TEXT = guide().read_text(encoding="utf-8")
BLOCK = re.compile(r"(?P<mark><!-- not run: [^>]+ -->\n)?^```(?P<language>\w+)\n(?P<content>.*?)^```$", re.S | re.M)
ERROR = re.compile(r"^\| `rnnae-bench (?P<command>[^`]+)` \| `(?P<said>[^`]+)` \|", re.M)
EVERY = [[name] for name in COMMANDS if name not in ("leaderboard", "plugin", "completion")]
EVERY += [["leaderboard", action] for action in ACTIONS] + [["plugin", action] for action in PLUGIN_ACTIONS]

NUMBERS = (int, float)
TYPES = {
    "any": lambda value: True,
    "bool": lambda value: isinstance(value, bool),
    "float": lambda value: isinstance(value, NUMBERS) and not isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "null": lambda value: value is None,
    "str": lambda value: isinstance(value, str),
}


def steps(run: bool) -> list[tuple[list[str], Any]]:
    """The guide's commands in its order, each with the shape below it; those that are run, or the others."""
    found = []
    for block in BLOCK.finditer(TEXT):
        if block["language"] != "console" or (block["mark"] is None) != run:
            continue
        for step in re.split(r"^\$ ", block["content"], flags=re.M)[1:]:
            command, _, shape = step.partition("\n")
            program, *words = shlex.split(command)
            assert program == "rnnae-bench"
            found.append((words, yaml.safe_load(shape)))
    return found


def named_shapes() -> dict[str, Any]:
    (block,) = [one for one in BLOCK.finditer(TEXT) if one["language"] == "yaml"]
    return yaml.safe_load(block["content"])


RUN, NOT_RUN = steps(True), steps(False)
NAMED = named_shapes()


def misfit(value: Any, shape: Any, where: str = "") -> str | None:
    """Where and how a value is not of a shape; None where it is."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where or 'it'} is no list"
        return next(filter(None, (misfit(one, shape[0], f"{where}[{n}]") for n, one in enumerate(value))), None)
    if isinstance(shape, dict):
        return _misfit_of_object(value, shape, where)
    words = ["null"] if shape is None else shape.split("|")
    reasons = [_misfit_of_word(value, word, where) for word in words]
    return None if None in reasons else "; ".join(map(str, reasons))


def _misfit_of_object(value: Any, shape: dict[str, Any], where: str) -> str | None:
    if not isinstance(value, dict):
        return f"{where or 'it'} is no object"
    known = {key.removesuffix("*"): one for key, one in shape.items() if key != "NAME"}
    nullable = {key.removesuffix("*") for key in shape if key.endswith("*")}
    needed = {key for key in shape if key != "NAME" and not key.endswith("*")}
    if needed - set(value):
        return f"{where} lacks {sorted(needed - set(value))}"
    if "NAME" not in shape and set(value) - set(known):
        return f"{where} has {sorted(set(value) - set(known))}, too"
    inner = (
        misfit(one, known.get(key, shape.get("NAME")), f"{where}.{key}")
        for key, one in value.items()
        if one is not None or key not in nullable
    )
    return next(filter(None, inner), None)


def _misfit_of_word(value: Any, word: str, where: str) -> str | None:
    if word in NAMED:
        return misfit(value, NAMED[word], where)
    fits = TYPES[word](value) if word in TYPES else value == word
    return None if fits else f"{where or 'it'} is {value!r:.60}, and not {word}"


def words_of(shape: Any) -> list[list[str]]:
    """Every alternative in a shape."""
    if isinstance(shape, list):
        return words_of(shape[0])
    if isinstance(shape, dict):
        return [words for one in shape.values() for words in words_of(one)]
    return [["null"] if shape is None else shape.split("|")]


@pytest.mark.parametrize(
    ("value", "shape", "said"),
    [
        ({"a": 1}, {"a": "str"}, ".a is 1, and not str"),
        ({"a": True}, {"a": "int"}, ".a is True, and not int"),
        ({"a": None}, {"a": "float|str"}, "not float; .a is None, and not str"),
        ({"a": 0.5}, {"a": "int|null"}, ".a is 0.5, and not int"),
        ({"a": "fine"}, {"a": "good|bad"}, "and not good"),
        ({}, {"a": "int"}, "lacks ['a']"),
        ({"a": 1, "b": 2}, {"a": "int"}, "has ['b'], too"),
        ({"a": 1, "b": "x"}, {"a": "int", "NAME": "int"}, ".b is 'x', and not int"),
        ({"a": None, "b": "x"}, {"a*": "int", "b*": "int"}, ".b is 'x', and not int"),
        ([{"a": [1, "x"]}], [{"a": ["int"]}], "[0].a[1] is 'x', and not int"),
        ({}, ["any"], "it is no list"),
        ([], {"NAME": "any"}, "it is no object"),
        ({"value": 1.0, "low": "x", "high": None}, "interval|null", ".low is 'x'"),
    ],
)
def test_another_shape_is_noticed(value, shape, said):
    assert said in str(misfit(value, shape))


def test_the_right_shape_is_right():
    value = {"a": [1, 2.5], "c": "good", "n": None, "d": {"value": 1, "low": None, "high": 2.0}, "more": 1}
    assert (
        misfit(value, {"a": ["float"], "b*": "str", "n*": ["int"], "c": "good|bad", "d": "interval", "NAME": "any"})
        is None
    )


def test_words_that_are_no_types_are_the_program_s():
    literals = [get_args(one) for one in (Direction, Status, Kind, Entry.__annotations__["status"])]
    literals.append(get_args(Verdict.__annotations__["outcome"]))
    known = [set(one) for one in literals]
    for _, shape in [*RUN, *NOT_RUN, *((name, shape) for name, shape in NAMED.items())]:
        for words in words_of(shape):
            own = {word for word in words if word not in TYPES and word not in NAMED}
            assert not own or own in known or own <= set(get_args(Kind)), own


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        (NAMED["record"], record.Record),
        (NAMED["record"]["environment"], record.Environment),
        (NAMED["record"]["environment"]["vectorized*"], record.Vectorized),
        (NAMED["primary"], record.Primary),
        (NAMED["failure"], record.Failure),
        (NAMED["match"], record.Match),
    ],
)
def test_a_record_has_these_keys_whatever_became_of_its_trial(shape, part):
    fields = zip(part.__struct_fields__[::-1], part.__struct_defaults__[::-1], strict=False)
    optional = {name for name, default in fields if default is not msgspec.NODEFAULT}
    assert set(shape) == {f"{name}*" if name in optional else name for name in part.__struct_fields__}


def test_a_difference_has_these_keys():
    from rnnae_bench.trial.reproduce import Difference

    assert misfit(asdict(Difference("torch", "2.1", "2.2")), "difference") is None


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder in which all of the guide's commands have run, and what each printed, with its exit code."""
    folder = tmp_path_factory.mktemp("guide")
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words, shape in RUN:
            if "--superseded" in words:
                (first,) = [one for one, _ in RUN if one[0] == "run"]
                said([*first, "--overwrite"])
            printed.append((words, shape, *said([_id(weights=True) if word == "ID" else word for word in words])))
    return folder, printed


def said(words: list[str]) -> tuple[int, str]:
    """Exit code and standard output of a command."""
    with redirect_stdout(StringIO()) as out:
        code = main(words)
    return code, out.getvalue()


def _id(weights: bool) -> str:
    """Of a record whose weights were kept, or were not."""
    return next(path.stem for path in sorted(Path("runs").glob("*.json")) if ("weights" in _read(path)) == weights)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_the_commands_print_what_the_guide_says(workplace):
    _, printed = workplace
    for words, shape, code, text in printed:
        command = shlex.join(words)
        expected = 1 if words[:2] in (["leaderboard", "submit"], ["leaderboard", "validate"]) else 0
        assert code == expected, command
        assert misfit(json.loads(text), shape) is None, f"{command}: {misfit(json.loads(text), shape)}"
        assert json.loads(text), f"{command} printed nothing that has a shape"


def test_what_is_not_run_prints_what_the_guide_says(monkeypatch, tmp_path, make_record):
    """What would take minutes or an account, with the work itself left out."""
    from rnnae_bench.leaderboard.trackers import wandb_client, wandb_pull, wandb_push
    from rnnae_bench.records.store import Store
    from rnnae_bench.sweeps.study import Found

    found = Found("gru on copy:standard", "recall_accuracy", 2, 1, None, None, 0.5, (0.25, 0.5))
    swept = SimpleNamespace(records=[], found=[found], refused={}, went_well=True)
    pushed = wandb_push.Pushed(["a"], ["b"], {}, "https://example.org")
    monkeypatch.setattr("rnnae_bench.cli.sweep.run_sweep", lambda *_: swept)
    monkeypatch.setattr(wandb_client, "connect", lambda **_: None)
    monkeypatch.setattr(wandb_push, "push", lambda *_: pushed)
    monkeypatch.setattr(wandb_pull, "pull", lambda *_: [wandb_pull.Pulled("e/p", ["a"], ["b"], {}, {}, ["c"])])
    monkeypatch.chdir(tmp_path)
    Store(tmp_path / "runs").write(make_record(), {})
    assert len(NOT_RUN) == 3
    for words, shape in NOT_RUN:
        code, text = said(words)
        assert code == 0
        assert misfit(json.loads(text), shape) is None, shlex.join(words)


def test_python_runs():
    (block,) = [one for one in BLOCK.finditer(TEXT) if one["language"] == "python"]
    exec(compile(block["content"], str(guide()), "exec"), {"__name__": "guide"})


def test_mistakes_are_told_as_the_guide_says(workplace, monkeypatch, capsys):
    folder, _ = workplace
    monkeypatch.chdir(folder)
    errors = list(ERROR.finditer(TEXT))
    assert len(errors) > 5
    for error in errors:
        assert main([_id(weights=False) if word == "ID" else word for word in shlex.split(error["command"])]) == 2
        assert error["said"] in capsys.readouterr().err, error["command"]


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_every_command_has_a_shape(command):
    parser = parser_for(command)
    for word in command:
        parser = next(one.choices for one in parser._actions if hasattr(one, "_name_parser_map"))[word]
    assert any("--json" in action.option_strings for action in parser._actions)
    shown = [words for words, shape in [*RUN, *NOT_RUN] if words[: len(command)] == command and shape]
    assert any("--json" in words for words in shown)


def test_every_command_is_named():
    for name in COMMANDS:
        assert re.search(rf"(`|rnnae-bench ){name}\b", TEXT), name


def test_it_is_a_skill_of_a_readable_length():
    _, front, _ = TEXT.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["name"] == guide().parent.name
    assert 0 < len(about["description"]) <= 1024
    assert len(TEXT.splitlines()) <= 280
    assert max(map(len, TEXT.splitlines())) <= 250


def test_docs_says_where_everything_is(capsys):
    assert main(["docs"]) == 0
    text = capsys.readouterr().out
    assert str(guide()) in text
    assert project_urls()["Documentation"] in text
    assert main(["docs", "--for-agents"]) == 0
    assert capsys.readouterr().out == TEXT


def test_a_copy_without_metadata_has_the_guide_all_the_same(monkeypatch, capsys):
    from importlib.metadata import PackageNotFoundError

    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("rnnae_bench.cli.docs.metadata", absent)
    assert main(["docs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"urls": {}, "path": str(guide())}


def test_the_wheel_has_it(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("rnnae_bench", "tasks"):
        (source / name).symlink_to(ROOT / name)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = "rnnae_bench/cli/agents/rnnae-bench/SKILL.md"
    assert zipfile.ZipFile(wheel).read(inside).decode() == TEXT
