"""Configuration files: several as one mapping of options."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnae_bench.errors import UserError
from rnnae_bench.options import yaml12
from rnnae_bench.options.nested import merge


def read_configs(paths: Sequence[Path]) -> dict[str, Any]:
    """Configuration files as one mapping, the later ones winning option by option.

    ``task`` and ``model`` are always sections; where a file has only their names, ``name`` in there.

    Raises:
        UserError: a file can't be read, is not YAML, or is no mapping.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        _, content = yaml12.read(path, "the configuration file")
        if not isinstance(content, dict):
            raise UserError(f"{path}: a configuration is a mapping of options, this is a {type(content).__name__}")
        for part in ("task", "model"):
            if isinstance(content.get(part), str):
                content[part] = {"name": content[part]}
        merged = merge(merged, content)
    return merged
