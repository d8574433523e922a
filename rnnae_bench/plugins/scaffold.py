"""A new plugin: a small package with one model, task or probe, which installs and passes its exam as it is."""

import keyword
import re
import shutil
import sys
import tempfile
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import GROUPS, Kind, registry

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

_FILES = {
    "pyproject.toml": "every/pyproject.toml",
    ".gitignore": "every/gitignore",
    "README.md": "{kind}/README.md",
    "{package}/__init__.py": "{kind}/__init__.py",
    "{package}/{module}.py": "{kind}/{module}.py",
    "tests/test_{package}.py": "{kind}/tests.py",
}
"""Each file of a plugin, and its template."""

_ENDINGS: dict[Kind, str] = {"task": "Task", "probe": "Probe"}
"""What the name of a class ends in."""

_OWN_FILES: dict[Kind, dict[str, str]] = {"task": {"{package}/task.yaml": "task/task.yaml"}}


def write_plugin(kind: Kind, name: str, out: Path | None = None) -> tuple[Path, list[Path]]:
    """Write a plugin's package into a new folder, whole or not at all.

    Args:
        kind: What it has.
        name: What that will be called: lower-case words with underscores between.
        out: The folder; by default one of the name, with dashes, in the working folder.

    Returns:
        The folder, and the files in it, relative to it.

    Raises:
        UserError: the name can't be taken, or the folder can't be written.
    """
    _require_free(kind, name)
    folder = out or Path(name.replace("_", "-"))
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} is there already; choose another folder by --out, or remove it")
    if not folder.absolute().parent.is_dir():
        raise UserError(f"there is no folder {folder.absolute().parent} to write {folder.name} into; make it first")
    words = {
        "kind": kind,
        "name": name,
        "package": name,
        "module": kind,
        "folder": name.replace("_", "-"),
        "class": "".join(word.capitalize() for word in name.split("_")) + _ENDINGS.get(kind, ""),
    }
    texts = {path.format(**words): _filled(template.format(**words), words) for path, template in _files(kind).items()}
    try:
        _write(folder, texts)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; nothing was left there") from error
    return folder, [Path(path) for path in texts]


def _files(kind: Kind) -> dict[str, str]:
    return {**_FILES, **_OWN_FILES.get(kind, {})}


def _require_free(kind: Kind, name: str) -> None:
    """Raise `UserError` where a plugin, its package or its class can't have the name."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"'{name}' can't be the name of a {kind}; write lower-case words with underscores between, as my_cell"
        )
    for other in GROUPS:
        for handle in registry(other).handles():
            if handle.name == name:
                raise UserError(f"the {other} '{name}' of {handle.distribution} is installed; choose another name")
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise UserError(f"'{name}' is a word of Python or a module of its library; choose another name")
    if _is_importable(name):
        raise UserError(f"a package '{name}' is installed, and would hide this one; choose another name")


def _is_importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return True


def _filled(template: str, words: dict[str, Any]) -> str:
    import jinja2

    text = resources.files(__package__).joinpath("templates", f"{template}.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(text).render(words)


def _write(folder: Path, texts: dict[str, str]) -> None:
    """Write files into a folder that is there only once all of them are."""
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.absolute().parent))
    try:
        for path, text in texts.items():
            file = draft / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
