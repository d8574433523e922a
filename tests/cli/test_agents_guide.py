"""The guide for agents: its commands run, and what they print has the shapes that it says."""

import json
import re
import shlex

import pytest

from rnnae_bench.cli import COMMANDS, main
from rnnae_bench.cli.docs import GUIDE

BLOCKS = re.compile(r"^```(?P<language>console|json)\n(?P<content>.*?)^```$", re.DOTALL | re.MULTILINE)
TYPES = {"str": str, "int": int, "float": (int, float), "bool": bool, "null": type(None)}


def differences(shape, value, place="$"):
    """Where a value has not the shape that the guide says: types by name, ``*`` any key, ``...`` further keys."""
    if isinstance(shape, str):
        sound = shape == "any" or any(
            isinstance(value, TYPES[name]) and (name == "bool" or not isinstance(value, bool))
            for name in shape.split("|")
        )
        if not sound:
            yield f"{place} is {value!r:.60}, and not {shape}"
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{place} is no list"
            return
        for number, one in enumerate(value):
            yield from differences(shape[0], one, f"{place}[{number}]")
    elif not isinstance(value, dict):
        yield f"{place} is no object"
    elif shape:
        named = {key: one for key, one in shape.items() if key not in ("*", "...")}
        for key, one in named.items():
            if key in value:
                yield from differences(one, value[key], f"{place}.{key}")
            else:
                yield f"{place} has no {key}"
        for key in value.keys() - named.keys():
            if "*" in shape:
                yield from differences(shape["*"], value[key], f"{place}.{key}")
            elif "..." not in shape:
                yield f"{place} has {key} too"


def examples():
    """Each command of the guide, with the shape that follows it or None, in their order."""
    commands, shape = [], None
    for block in BLOCKS.finditer(GUIDE.read_text(encoding="utf-8")):
        if block["language"] == "json":
            shape = json.loads(block["content"])
        yield from ((command, shape) for command in commands)
        commands, shape = [], None
        if block["language"] == "console":
            lines = [shlex.split(line) for line in block["content"].splitlines()]
            assert all(line[:2] == ["$", "rnnae-bench"] for line in lines)
            commands = [line[2:] for line in lines]
    yield from ((command, None) for command in commands)


def test_what_the_commands_print_has_the_shapes_of_the_guide(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shapes = 0
    for command, shape in examples():
        if command[0] == "run":
            command = [*command, "--task.protocol.max_steps", "20", "--task.protocol.evaluate_every", "10"]
        assert main(command) == 0, command
        printed = json.loads(capsys.readouterr().out)
        if shape is not None:
            shapes += 1
            assert not list(differences(shape, printed)), command
    assert shapes >= 15


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("int", 1.5),
        ("int", True),
        ("str|null", 3),
        ({"a": "int"}, {"a": 1, "b": 2}),
        ({"a": "int", "...": "any"}, {"b": 2}),
        ({"*": "int"}, {"a": 1, "b": "2"}),
        (["int"], [1, "2"]),
        ({"a": {"b": "str"}}, {"a": []}),
    ],
)
def test_a_shape_that_is_not_kept_is_found(shape, value):
    assert list(differences(shape, value))


def test_every_command_is_in_the_guide():
    guide = GUIDE.read_text(encoding="utf-8")
    assert [name for name in COMMANDS if not re.search(rf"(rnnae-bench |`){name}\b", guide)] == []
    assert len(guide.splitlines()) < 260


def test_the_guide_is_printed_and_has_the_head_of_a_skill(capsys):
    assert main(["docs", "--for-agents"]) == 0
    said = capsys.readouterr().out
    assert said == GUIDE.read_text(encoding="utf-8")
    assert re.match(r"---\nname: rnnae-bench\ndescription: .{40,1024}\n---\n", said)
    assert main(["docs", "--for-agents", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(GUIDE), "text": said}


def test_docs_says_where_to_read(capsys):
    assert main(["docs"]) == 0
    said = capsys.readouterr().out
    assert "Documentation  https://" in said
    assert str(GUIDE) in said
