"""The suite's one reader of YAML: version 1.2's core schema, plain values only, in bounded time and memory.

Task cards, configuration files, sweep files and values on the command line are all read here. PyYAML's parser does the
work (in C, where it was built so); it reads version 1.1, where ``010`` is 8 and ``off`` is false, so the scalars are
resolved anew (https://yaml.org/spec/1.2.2/, section 10.3). Beyond the core schema, ``<<`` merges a mapping into
another, as in version 1.1. A key given twice, tags of other types, and documents that are large, deep, or grow large by
their aliases are refused.
"""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from rnnae_bench.errors import UserError

LARGEST = 1 << 18
"""Bytes of the largest file that is read."""

_DEEPEST, _MOST = 100, 100_000
"""Levels of nesting, and values, each alias counting as often as it is used."""

_CORE = "tag:yaml.org,2002:"
_PLAIN = frozenset(f"{_CORE}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge"))
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
)


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of YAML 1.2, which refuses what is not plain data."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def get_single_node(self) -> yaml.Node | None:
        """The document as nodes, checked; None where there is none."""
        tree: yaml.Node | None = super().get_single_node()
        if tree is not None:
            self._check(tree, 0, {})
        return tree

    def _check(self, node: yaml.Node, depth: int, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
        """How many values a node stands for, and how deep it is, if all in there may be."""
        found = known.get(id(node), (0, 0))
        if found is None:
            raise _refusal("an alias stands for what it lies in", node)
        values, levels = found
        if depth + levels > _DEEPEST:
            raise _refusal(f"it is nested deeper than {_DEEPEST} levels", node)
        if values:
            return found
        known[id(node)] = None
        if node.tag not in _PLAIN:
            raise _refusal(f"the tag {node.tag.removeprefix(_CORE)} is not read; write plain values", node)
        values, levels = 1, 1
        for child in self._children(node):
            inside, below = self._check(child, depth + 1, known)
            values, levels = values + inside, max(levels, 1 + below)
            if values > _MOST:
                raise _refusal(f"there are more than {_MOST} values, aliases counted as often as used", node)
        known[id(node)] = values, levels
        return values, levels

    def _children(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return node.value
        if not isinstance(node, yaml.MappingNode):
            return []
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("a list or a mapping can't be a key", key)
            name = "<<" if key.tag == f"{_CORE}merge" else self.construct_object(key)
            if name in seen:
                raise _refusal(f"'{key.value}' is given twice", key)
            seen.add(name)
        return [value for _, value in node.value]

    def number(self, node: yaml.ScalarNode) -> int | float:
        """A number; a whole one in base 10 even if zeros lead, in base 8 after ``0o`` and 16 after ``0x``."""
        text = self.construct_scalar(node)
        kind = node.tag.removeprefix(_CORE)
        if not any(name == kind and re.fullmatch(pattern, text) for name, pattern, _ in _SCALARS):
            raise _refusal(f"'{text}' is not {'a whole number' if kind == 'int' else 'a number'}", node)
        if kind == "float":
            return float(re.sub(r"\.(?=[in])", "", text.lower()))
        if len(text) > 1000:
            raise _refusal("a number has more than 1000 digits", node)
        return int(text[2:], {"o": 8, "x": 16}[text[1]]) if text[1:2] in ("o", "x") else int(text)

    def truth(self, node: yaml.ScalarNode) -> bool:
        """True or false."""
        text = self.construct_scalar(node).lower()
        if text not in ("true", "false"):
            raise _refusal(f"'{text}' is neither true nor false", node)
        return text == "true"


for _kind, _pattern, _first in _SCALARS:
    Loader.add_implicit_resolver(f"{_CORE}{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)
for _kind in ("int", "float"):
    Loader.add_constructor(f"{_CORE}{_kind}", Loader.number)
Loader.add_constructor(f"{_CORE}bool", Loader.truth)
Loader.add_constructor(f"{_CORE}merge", Loader.construct_yaml_str)


class _Dumper(yaml.SafeDumper):
    """Quotes each text that one of the two versions of YAML would take for something else."""


for _kind, _pattern, _first in _SCALARS:
    _Dumper.add_implicit_resolver(f"{_CORE}{_kind}", re.compile(rf"(?:{_pattern})\Z"), _first)


def load(text: str) -> Any:
    """The data in a YAML document.

    >>> load("[1e-3, 64, 010, 0o10, off, true, null]")
    [0.001, 64, 10, 8, 'off', True, None]

    Raises:
        yaml.YAMLError: it is not YAML, or not of the plain kind that is read here.
    """
    return compose(text)[1]


def compose(text: str) -> tuple[yaml.Node | None, Any]:
    """The document as nodes, which know their lines, and as plain data; None and None where it is empty."""
    try:
        loader = Loader(text)
    except UnicodeEncodeError as error:
        raise yaml.YAMLError(f"it can't be written in UTF-8: {error.reason}") from error
    try:
        tree = loader.get_single_node()
        return tree, None if tree is None else loader.construct_document(tree)
    finally:
        loader.dispose()


def read(path: Path, what: str) -> tuple[yaml.Node | None, Any]:
    """A file as nodes and as plain data. It is UTF-8, whatever the locale; a byte order mark is skipped.

    Args:
        path: The file.
        what: What it is, to name in an error: "the task card".

    Raises:
        UserError: it can't be read, is too large, or is not YAML; with its line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{what} {path} is larger than {LARGEST >> 10} KiB")
        return compose(content.decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {what} {path}: it is not UTF-8 ({error.reason} at byte {error.start})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        # At its end a file is one line longer for libyaml.
        lines = content.rstrip().count(b"\n") + 1
        line = f":{min(mark.line + 1, lines)}" if mark else ""
        raise UserError(f"{path}{line}: not YAML: {reason(error)}") from error


def reason(error: yaml.YAMLError) -> str:
    """What is wrong with a document, in one line."""
    return getattr(error, "problem", None) or " ".join(str(error).split())


def dump(data: Any) -> str:
    """A YAML document of plain data, which `load` reads back; in ASCII, so that any terminal can show it.

    >>> dump({"clip": 1.0, "name": "010"})
    "clip: 1.0\\nname: '010'\\n"
    """
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


def _refusal(reason: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, reason, node.start_mark)
