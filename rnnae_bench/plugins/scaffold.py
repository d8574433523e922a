"""A new plugin: a small package with one model, task or probe, which installs and passes its exam as it is."""

import ast
import contextlib
import keyword
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import GROUPS, Kind, registry

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

_FILES = {
    "pyproject.toml": "every/pyproject.toml",
    ".gitignore": "every/gitignore",
    "README.md": "{kind}/README.md",
    "{package}/__init__.py": "{kind}/__init__.py",
    "{package}/{kind}.py": "{kind}/{kind}.py",
    "tests/test_{package}.py": "{kind}/tests.py",
}
"""Each file of a plugin, and its template."""

_OWN_FILES: dict[Kind, dict[str, str]] = {
    "task": {"{package}/task.yaml": "task/task.yaml", "{package}/README.md": "task/card.md"}
}

_BESIDE = ("dist", "runs", "tests")
"""Folders that lie beside the module, or that a built package leaves out."""

_ENDINGS: dict[Kind, str] = {"model": "", "task": "Task", "probe": "Probe"}
"""What the name of a class ends in."""

_CHECKS: dict[Kind, str] = {
    "model": "rnnae-bench check model {name} --task copy names sine",
    "task": "rnnae-bench check task {name}",
    "probe": "rnnae-bench check probe {name}",
}

_RUNS: dict[Kind, str] = {
    "model": "rnnae-bench run --task copy:smoke --model {name}",
    "task": "rnnae-bench run --task {name}:smoke --model gru",
    "probe": "rnnae-bench run --task copy:smoke --model gru --probes {name}",
}


@dataclass(frozen=True)
class NewPlugin:
    """A package that was written.

    Args:
        folder: Where it lies.
        files: What is in it, seen from there.
        check: The command that examines what it brings, once it is installed.
        run: The command that tries it.
    """

    folder: Path
    files: tuple[Path, ...]
    check: str
    run: str


def write_plugin(kind: Kind, name: str, out: Path | None = None) -> NewPlugin:
    """Write a plugin's package into a new folder, whole or not at all.

    Args:
        kind: What it has.
        name: What that will be called: lower-case words with underscores between.
        out: The folder; by default one of the name, with dashes, in the working folder.

    Raises:
        UserError: the name can't be taken, or the folder can't be written.
    """
    _require_free(kind, name)
    folder = out or Path(_distribution(name))
    words = {
        "kind": kind,
        "name": name,
        "package": name,
        "distribution": _distribution(name),
        "class": _class(kind, name),
        "check": _CHECKS[kind].format(name=name),
        "run": _RUNS[kind].format(name=name),
    }
    files = {**_FILES, **_OWN_FILES.get(kind, {})}
    texts = {path.format(**words): _filled(template.format(**words), words) for path, template in files.items()}
    _require_unambiguous(kind, name, texts)
    try:
        _write(folder, texts)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}; nothing was left there") from error
    return NewPlugin(folder, tuple(map(Path, texts)), words["check"], words["run"])


def _distribution(name: str) -> str:
    return name.replace("_", "-")


def _class(kind: Kind, name: str) -> str:
    words, ending = "".join(word.capitalize() for word in name.split("_")), _ENDINGS[kind]
    return words if words.endswith(ending) and words != ending else words + ending


def _require_free(kind: Kind, name: str) -> None:
    """Raise `UserError` where a plugin, its package, its distribution or its class can't have the name."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"'{name}' can't be the name of a {kind}; write lower-case words with underscores between, as my_cell"
        )
    for other in GROUPS:
        for handle in registry(other).handles():
            if handle.name == name:
                raise UserError(f"the {other} '{name}' of {handle.distribution} is installed; choose another name")
    if keyword.iskeyword(name) or keyword.iskeyword(_class(kind, name)) or name in sys.stdlib_module_names:
        raise UserError(f"'{name}' is a word of Python or a module of its library; choose another name")
    if name in _BESIDE:
        raise UserError(f"'{name}' is a folder with another use in the package; choose another name")
    if _is_importable(name):
        raise UserError(f"a package '{name}' is installed, and would hide this one; choose another name")
    with contextlib.suppress(PackageNotFoundError):
        there = f"{_distribution(name)} {distribution(_distribution(name)).version}"
        raise UserError(f"{there} is installed, and this package would replace it; choose another name than '{name}'")


def _is_importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return True


def _require_unambiguous(kind: Kind, name: str, texts: Mapping[str, str]) -> None:
    """Raise `UserError` where the class has the name of something that a module imports from elsewhere."""
    own = _class(kind, name)
    for path, text in texts.items():
        if path.endswith(".py") and own in _imported(text, f"{name}.{kind}"):
            raise UserError(f"a class '{own}' is imported by {path} already; choose another name than '{name}'")


def _imported(text: str, but_from: str) -> Iterator[str]:
    """The names that a module's text imports from other modules than one."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module != but_from:
            yield from (alias.name for alias in node.names)


def _filled(template: str, words: Mapping[str, str]) -> str:
    import jinja2

    text = resources.files(__package__).joinpath("templates", f"{template}.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(text).render(words)


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files into a folder that is there only once all of them are.

    Raises:
        UserError: it is there already, or has no folder to lie in.
        OSError: it can't be written.
    """
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} is there already; choose another folder by --out, or remove it")
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise UserError(f"there is no folder {parent} to write {folder.name} into; make it first")
    with tempfile.TemporaryDirectory(prefix=".rnnae-bench-", dir=parent) as draft:
        whole = Path(draft) / folder.name
        for path, text in texts.items():
            file = whole / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        whole.rename(folder)
