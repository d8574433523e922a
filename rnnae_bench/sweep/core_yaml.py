"""YAML by the core schema of its version 1.2: ``1e-3`` is a number, and ``off`` and ``no`` are words.

PyYAML reads version 1.1, where it is the other way round.
"""

import re
from typing import Any

import yaml


class CoreLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2 (https://yaml.org/spec/1.2.2/, section 10.3)."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's name for it)

    def whole(self, node: yaml.ScalarNode) -> int:
        """A whole number, in base 10 even if zeros lead."""
        return int(self.construct_scalar(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; a key given twice is an error, where PyYAML would take the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is given twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
)
for _tag, _pattern, _first in _SCALARS:
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)
CoreLoader.add_constructor("tag:yaml.org,2002:int", CoreLoader.whole)


def load(text: str) -> Any:
    """The data in a YAML document.

    >>> load("[1e-3, 64, off, true, null]")
    [0.001, 64, 'off', True, None]

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    return compose(text)[1]


def compose(text: str) -> tuple[yaml.Node | None, Any]:
    """The document as nodes, which know their lines, and as plain data; None and None where it is empty."""
    loader = CoreLoader(text)
    try:
        tree = loader.get_single_node()
        return tree, None if tree is None else loader.construct_document(tree)
    finally:
        loader.dispose()
