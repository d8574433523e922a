"""What is read of a module's source, against what Python says of the module once imported."""

import dataclasses
import inspect
import re
import sys
import textwrap

import pytest

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.models.recurrent import GRU, RNN
from rnnae_bench.plugins.source import defect, locate, read_class


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write modules, given by path, into a folder on sys.path."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(modules):
        for name, text in modules.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    return write


def test_the_signature_is_the_one_python_sees():
    read = {each.name: each for each in read_class(RNN.__module__, "RNN").parameters}
    imported = inspect.signature(RNN).parameters
    whole = [name for name in read if "." not in name]
    assert whole == [name for name in imported if name not in ("spec", "through_time", "optimization")]
    assert [read[name].default for name in whole] == [repr(imported[name].default) for name in whole]
    assert read["activation"].type == "Literal['tanh', 'relu', 'identity']"
    assert read["initialization"].type == "Literal['pytorch', 'orthogonal', 'identity']"
    assert read["hidden_size"].description == "Numbers in the state of one layer and direction."


@pytest.mark.parametrize(
    ("module", "name", "prefix", "config"),
    [
        ("rnnae_bench.models.recurrent", "GRU", "optimization.", Optimization()),
        ("rnnae_tasks.copy.datamodule", "CopyTask", "protocol.", Protocol()),
    ],
)
def test_a_dataclass_becomes_its_fields(module, name, prefix, config):
    read = {each.name: each.default for each in read_class(module, name).parameters if each.name.startswith(prefix)}
    assert read == {f"{prefix}{field.name}": repr(getattr(config, field.name)) for field in dataclasses.fields(config)}


def test_docstring_path_and_line():
    source = read_class(GRU.__module__, "GRU")
    assert str(source.path) == inspect.getsourcefile(GRU)
    assert source.line == inspect.getsourcelines(GRU)[1]
    assert source.summary == inspect.getdoc(GRU).splitlines()[0]
    assert source.description == inspect.getdoc(GRU).partition("\n\nArgs:")[0]


def test_a_class_is_followed_through_re_exports_and_to_its_base(write):
    modules = {
        "followed/__init__.py": "from .inner import Child as Public, Alone\nfrom .inner import looped",
        "followed/inner.py": '''
            from followed import looped
            from torch import nn

            class Parent(nn.Module):
                """A parent.

                Args:
                    size: How large,
                        in metres.
                    rest (str): Unused.

                Example:
                    >>> Parent(1)
                """

                def __init__(self, size: "int", *more: int, rest: str = "a" + "b", **options: int):
                    pass

            class Child(Parent):
                """A child."""

            class Alone(nn.Module):
                """Made elsewhere."""
        ''',
    }
    write(modules)
    child = read_class("followed", "Public")
    assert child.description == "A child."
    assert [(each.name, each.type, each.default, each.description) for each in child.parameters] == [
        ("size", "int", None, "How large, in metres."),
        ("rest", "str", "'a' + 'b'", "Unused."),
    ]
    assert read_class("followed.inner", "Parent").description == "A parent.\n\nExample:\n    >>> Parent(1)"
    assert read_class("followed", "Alone").parameters is None
    assert read_class("followed", "looped") is None
    assert read_class("followed", "Absent") is None
    assert "followed" not in sys.modules


def test_a_default_may_change_the_fields_of_a_dataclass(write):
    modules = {
        "fields.py": '''
            from dataclasses import dataclass

            @dataclass
            class Config:
                """A configuration.

                Args:
                    rate: How fast.
                """
                rate: float
                size: int = 3
                kind: str = "a"

            DEFAULT = Config(1.0)

            class Model:
                def __init__(self, a: Config, b: Config = Config(0.5, kind="b"), c: Config = DEFAULT): ...
        '''
    }
    write(modules)
    read = {each.name: each.default for each in read_class("fields", "Model").parameters}
    assert read == {
        "a.rate": None,
        "a.size": "3",
        "a.kind": "'a'",
        "b.rate": "0.5",
        "b.size": "3",
        "b.kind": "'b'",
        "c": "DEFAULT",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class Model: ...", None),
        ("def make(): ...\nModel = make()", None),
        ("try:\n    import no_such_package\nexcept ImportError:\n    Model = None", None),
        ("if False:\n    import no_such_package\nelse:\n    class Model: ...", None),
        ("from os.path import *", None),
        ("def __getattr__(name): ...", None),
        ("from os import path as Model", None),
        ("import os.path\nclass Model: ...", None),
        ("def make():\n    class Model: ...", "defines no 'Model'"),
        ("class Modle: ...", "defines no 'Model'"),
        ("class Model(:\n", r"syntax error in .*defective\.py:1: "),
        ("import os, no_such_package.inner\nclass Model: ...", r"'no_such_package', which is not installed.*py:1\)"),
        ("\nfrom no_such_package import x\nclass Model: ...", r"'no_such_package', which is not installed.*py:2\)"),
    ],
)
def test_a_defect_is_found_without_importing(write, text, reason):
    write({"defective.py": text})
    found = defect("defective", "Model")
    if reason is None:
        assert found is None
    else:
        assert re.search(reason, found)
    assert "defective" not in sys.modules


def test_packages_on_the_way_are_looked_at_too(write):
    model = "class Model: ..."
    write({"outer/__init__.py": "import no_such_package", "outer/inner.py": model, "bare/inner.py": model})
    assert "'no_such_package', which is not installed" in defect("outer.inner", "Model")
    assert defect("outer.absent", "Model") is not None
    assert defect("bare.inner", "Model") is None
    assert defect("bare.absent", "Model") == "there is no module 'bare.absent'"
    assert defect("bare.inner.deeper", "Model") == "there is no module 'bare.inner.deeper'"
    assert read_class("bare.inner", "Model").path.name == "inner.py"


def test_nested_namespace_packages_are_found(tmp_path, write):
    write({"space/inside/leaf.py": "class Model: ..."})
    assert locate("space.inside.leaf").origin == str(tmp_path / "space" / "inside" / "leaf.py")
    assert defect("space.inside.leaf", "Model") is None


def test_compiled_modules_are_taken_on_trust():
    assert defect("math", "sqrt") is None
    assert read_class("math", "sqrt") is None
