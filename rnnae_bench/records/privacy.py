"""What a record does not tell: passwords, whose machine it was, and texts without end."""

import contextlib
import getpass
import os
import re
import socket
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import rnnae_bench
from rnnae_bench.records.record import Configuration, Record

LONGEST_MESSAGE = 4_000
"""Characters that a failure's message has at most."""

LONGEST_TRACEBACK = 40_000
"""Characters that a failure's traceback has at most."""

HIDDEN = "***"
"""What stands for a secret."""

_SECRET = (
    r"(?:[\w.-]*[._-])?(?:(?:ssl|pg|db)?pass(?:word|wd|phrase)|pwd|secrets?|credentials?|token|"
    r"(?:api|access|secret|private|auth)[_-]?key)"
)
"""Names of options, parameters and environment variables that hold one."""

_SECRET_OPTION = re.compile(_SECRET.replace("token|", "(?:auth|access|api|bearer|hf|wandb)[_-]?token|"), re.IGNORECASE)
"""Likewise, of options of a model or task. Their tokens may be symbols, which determine the result: ``pad_token``."""

_NUMBER = re.compile(r"[-+.\d][\d_.e+-]*|true|false|null|none", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/?#:@'\"]*):[^\s'\"]*@")
_URL_USER = re.compile(r"(?<=://)[^\s/?#:@'\"]+@")
_PARAMETER = re.compile(rf"(?<![\w.-])(-*{_SECRET}=)([^\s&;,\])'\"]+)", re.IGNORECASE)
_ENTRY = re.compile(rf"((['\"]){_SECRET}\2\s*[:,]\s*(['\"]))(.*?)(?=\3)", re.IGNORECASE)
_OPTION = re.compile(rf"-+{_SECRET}", re.IGNORECASE)


def publishable(record: Record) -> Record:
    """A record without secrets, home folders and long texts; one that was made so already stays as it is.

    - Passwords in URLs and the values of options, parameters and environment variables that are named like a secret
      are `HIDDEN` wherever they stand: in the command, the options, messages and tracebacks.
    - A home folder is ``~``. In the command and in messages and tracebacks so are those of others, a folder with the
      user's name is `HIDDEN`, as is the host's name, and the folders of Python, of the installed packages and of the
      work are named for what they are.
    - Messages and tracebacks are cut in the middle.
    """
    words = [_word(word, before) for before, word in zip(["", *record.command], record.command, strict=False)]
    failure, configuration = record.failure, record.configuration
    return replace(
        record,
        command=list(map(_neutral, words)),
        overrides=options_without_home(record.overrides),
        configuration=Configuration(
            task=options_without_home(configuration.task),
            model=options_without_home(configuration.model),
            trainer=options_without_home(configuration.trainer),
        ),
        failure=failure
        and replace(
            failure,
            message=_told(failure.message, LONGEST_MESSAGE),
            traceback=None if failure.traceback is None else _told(failure.traceback, LONGEST_TRACEBACK),
        ),
        absent={name: _told(reason, LONGEST_MESSAGE) for name, reason in record.absent.items()},
    )


def options_without_home(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options, nested, as a record tells them: a home folder is ``~``, and what is named like a secret is hidden."""
    return {name: _option(value, name) for name, value in options.items()}


def with_home(options: Any) -> Any:
    """The same options where ``~`` at the beginning of a text is the home folder of whoever runs this.

    >>> with_home({"task": {"source": "embedded"}})
    {'task': {'source': 'embedded'}}
    """
    if isinstance(options, Mapping):
        return {name: with_home(value) for name, value in options.items()}
    if isinstance(options, str) and (options == "~" or options.startswith("~/")):
        return str(Path(options).expanduser())
    return options


def cut(text: str, longest: int) -> str:
    """A text of at most so many characters: head and tail of a longer one.

    >>> cut("x" * 1_000_000, 60)
    'xxxxxxx [... 999,986 characters left out ...] xxxxxxx'
    """
    if len(text) <= longest:
        return text
    half = max(0, (longest - 45) // 2)
    return f"{text[:half]} [... {len(text) - 2 * half:,} characters left out ...] {text[-half:]}"


def without_secrets(text: str) -> str:
    """A text in which secrets are hidden.

    >>> without_secrets("mysql://me:pa@ss@host/db?ssl_password=x&charset=utf8")
    'mysql://me:***@host/db?ssl_password=***&charset=utf8'
    """
    text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    text = _URL_USER.sub(f"{HIDDEN}@", text)
    text = _PARAMETER.sub(lambda found: found[0] if _NUMBER.fullmatch(found[2]) else f"{found[1]}{HIDDEN}", text)
    text = _ENTRY.sub(rf"\1{HIDDEN}", text)
    for name, value in os.environ.items():
        # The shell's PWD is a folder.
        if len(value) >= 8 and name != "PWD" and re.fullmatch(_SECRET, name, re.IGNORECASE):
            text = text.replace(value, HIDDEN)
    return text


def _word(word: str, before: str) -> str:
    """A word of a command line, and the one before it, which may be the name of an option that holds a secret."""
    if _OPTION.fullmatch(before) and not word.startswith("--") and not _NUMBER.fullmatch(word):
        return HIDDEN
    return without_secrets(word)


def _option(value: Any, name: str) -> Any:
    """An option's value as a record tells it."""
    if isinstance(value, Mapping):
        return {key: _option(one, str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_option(one, name) for one in value]
    if not isinstance(value, str):
        return value
    if _SECRET_OPTION.fullmatch(name.rpartition(".")[2]) and not _NUMBER.fullmatch(value):
        return HIDDEN
    return _home_as_tilde(without_secrets(value))


def _told(text: str, longest: int) -> str:
    """A message or a traceback as a record tells it; what UTF-8 has no word for is written out."""
    # Cut twice, so that no secret is cut in two and missed.
    text = cut(text.encode("utf-8", "backslashreplace").decode(), 4 * longest)
    host = socket.gethostname()
    if len(host) > 3 and host != "localhost":
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", HIDDEN, text)
    return cut(_neutral(without_secrets(text)), longest)


def _neutral(text: str) -> str:
    """A text in which no path tells whose machine it was."""
    for folder, name in _places():
        text = _replaced(text, folder, name)
    text = re.sub(r"(?<![\w.~-])/(?:home|Users)/[^/\s'\":]+", "~", _home_as_tilde(text))
    user = _user()
    return re.sub(rf"(?<=/){re.escape(user)}(?=/)", HIDDEN, text) if user else text


def _home_as_tilde(text: str) -> str:
    try:
        home = str(Path.home())
    except RuntimeError:
        return text
    return _replaced(text, home, "~") if len(home) > 1 else text


def _replaced(text: str, folder: str, name: str) -> str:
    """The text with a folder's path, whole, replaced by a name."""
    return re.sub(rf"(?<![\w.~-]){re.escape(folder.rstrip('/'))}(?![\w.-])", _always(name), text)


def _always(name: str) -> Callable[[Any], str]:
    return lambda found: name


def _places() -> list[tuple[str, str]]:
    """Folders of this process and what they are, the innermost first."""
    paths = sysconfig.get_paths()
    found = {
        str(Path(rnnae_bench.__file__).parent): "rnnae_bench",
        paths["purelib"]: "site-packages",
        paths["platlib"]: "site-packages",
        paths["stdlib"]: "python",
        paths["platstdlib"]: "python",
        paths["data"]: "environment",
    }
    with contextlib.suppress(OSError):
        found[str(Path.cwd())] = "."
    return sorted(((path, name) for path, name in found.items() if len(path) > 1), key=lambda one: -len(one[0]))


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
