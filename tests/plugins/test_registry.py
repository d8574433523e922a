"""The registry: names, refusals, and that every built-in has its line in pyproject.toml."""

import inspect
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import GROUPS, Handle, Registry, models, parse_task, tasks

ROOT = Path(__file__).parents[2]


def handle(name="gru", value="rnnae_bench.models.recurrent:GRU", distribution="some-plugin"):
    return Handle("model", name, value, distribution, "1.2")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("copy", ("copy", "standard")),
        ("copy:smoke", ("copy", "smoke")),
        ("copy:standard.v2", ("copy", "standard.v2")),
    ],
)
def test_a_task_is_a_name_and_a_variant(text, parsed):
    assert parse_task(text) == parsed


@pytest.mark.parametrize("text", ["", ":", "copy:", ":smoke", "copy:a:b", "Copy", "copy smoke"])
def test_what_is_not_a_task_is_refused(text):
    with pytest.raises(UserError, match="write NAME or NAME:VARIANT"):
        parse_task(text)


def test_names_are_sorted_and_handles_complete():
    registry = Registry("model", [handle("b"), handle("a"), handle("c")])
    assert registry.names() == ["a", "b", "c"]
    assert [each.name for each in registry.handles()] == ["a", "b", "c"]
    assert registry.get("b") == handle("b")


def test_an_unknown_name_gets_a_suggestion_and_the_known_names():
    registry = Registry("model", [handle("gru"), handle("lstm")])
    with pytest.raises(
        UserError, match=r"^there is no model 'gur'; did you mean 'gru'\? the known models are gru, lstm$"
    ):
        registry.get("gur")
    with pytest.raises(UserError, match=r"^there is no model 'transformer'; the known models are gru, lstm$"):
        registry.get("transformer")
    with pytest.raises(UserError, match=r"known tasks are none$"):
        Registry("task", []).get("copy")


def test_a_contested_name_is_refused_and_the_others_are_not():
    registry = Registry("model", [handle("gru", distribution="two"), handle("gru", distribution="one"), handle("rnn")])
    with pytest.raises(UserError, match=r"'gru' is claimed by one 1\.2 and by two 1\.2; uninstall"):
        registry.get("gru")
    assert registry.conflict("rnn") is None
    assert registry.get("rnn").name == "rnn"
    assert registry.names() == ["gru", "rnn"]


def test_a_handle_loads_its_class():
    assert handle().broken() is None
    assert handle().load().__name__ == "GRU"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (handle(name="a:b"), "the name 'a:b' must be"),
        (handle(name="Gru"), "the name 'Gru' must be"),
        (handle(value="rnnae_bench.models.recurrent"), "must read module:Class"),
        (handle(value="rnnae_bench.models.recurrent:GRU.x"), "must read module:Class"),
        (handle(value="rnnae_bench.models.recursive:GRU"), r"no module.*rnnae_bench\.models\.recursive"),
        (handle(value="rnnae_bench.models.recurrent:Gru"), "'Gru'"),
    ],
)
def test_a_broken_handle_says_why_without_and_with_importing(broken, reason):
    assert broken.broken()
    with pytest.raises(UserError, match=f"(?is)^cannot load the model .* of some-plugin 1.2: .*{reason}") as caught:
        broken.load()
    assert "\n" not in str(caught.value)


def concrete(base, module):
    """The classes a built-in module defines that can be registered."""
    found = vars(import_module(module)).values()
    mine = [each for each in found if inspect.isclass(each) and each.__module__ == module and issubclass(each, base)]
    return [each for each in mine if not inspect.isabstract(each) and not each.__name__.startswith("_")]


def missing_lines(kind, classes, declared):
    """The lines that pyproject.toml lacks, ready to paste."""
    lines = []
    for each in classes:
        value = f"{each.__module__}:{each.__name__}"
        name = each.name if kind == "task" else each.__name__.lower()
        if value not in declared.values():
            lines.append(f'[project.entry-points."{GROUPS[kind]}"]\n{name} = "{value}"')
    return "\n".join(lines)


BUILT_IN = {
    "model": (BenchModule, [f"rnnae_bench.models.{path.stem}" for path in ROOT.glob("rnnae_bench/models/[!_]*.py")]),
    "task": (
        Task,
        [f"rnnae_tasks.{path.parent.name}.datamodule" for path in ROOT.glob("tasks/rnnae_tasks/*/datamodule.py")],
    ),
}


@pytest.mark.parametrize(("kind", "registry"), [("model", models()), ("task", tasks())])
def test_every_built_in_is_registered(kind, registry):
    base, modules = BUILT_IN[kind]
    classes = [each for module in modules for each in concrete(base, module)]
    assert classes
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUPS[kind]]
    missing = missing_lines(kind, classes, declared)
    assert not missing, f"add to pyproject.toml, and install again:\n{missing}"
    installed = {each.name: each.value for each in registry.handles() if each.distribution == "rnnae-bench"}
    assert installed == declared, "the installed entry points are not those of pyproject.toml: pip install -e . again"


def test_the_missing_line_can_be_pasted():
    base, _ = BUILT_IN["task"]
    classes = concrete(base, "rnnae_tasks.copy.datamodule")
    line = '[project.entry-points."rnnae_bench.tasks"]\ncopy = "rnnae_tasks.copy.datamodule:CopyTask"'
    assert missing_lines("task", classes, {}) == line
    assert missing_lines("task", classes, tomllib.loads(line)["project"]["entry-points"]["rnnae_bench.tasks"]) == ""
