"""BibTeX entries of models and tasks, from the ``references.bib`` beside their module or in a folder above it.

A task's card names its entries under ``bibtex``, a model's class in a literal attribute of that name. Nothing is
imported.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rnnae_bench.errors import UserError

FILE = "references.bib"

_BEGINNING = re.compile(r"^@\w+\s*\{\s*([^,\s]+)\s*,", re.MULTILINE)


def entries_of(what: str, keys: Iterable[str], module: str, path: Path) -> list[str]:
    """The entries with these keys, in their order, as they are written.

    Args:
        what: Whose they are, for an error.
        keys: The keys.
        module: The module's dotted name.
        path: The module's file; `FILE` is looked for in its folder first, and last in the outermost package's.

    Raises:
        UserError: a key is in none of the files, or a file can't be read.
    """
    folders = path.parents[: max(1, module.count("."))]
    known: dict[str, str] = {}
    for file in (folder / FILE for folder in folders):
        if file.is_file():
            known = {**dict(_entries(_text(file))), **known}
    missing = [key for key in keys if key not in known]
    if missing:
        raise UserError(f"{what} cites '{missing[0]}', and no {FILE} in {folders[0]} or above it has that entry")
    return [known[key] for key in keys]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Each entry with its key, up to the brace that closes it."""
    for match in _BEGINNING.finditer(text):
        depth = 0
        for place in range(match.start(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if text[place] == "}" and depth == 0:
                yield match[1], text[match.start() : place + 1]
                break
