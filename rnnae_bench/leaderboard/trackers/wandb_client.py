"""W&B's client, as this suite uses it: silent, and its errors in one line."""

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.records.privacy import HIDDEN

RUN = "wandb:"
"""How the name of a run begins, where a record could be named too."""

OFFLINE = "without a network, use offline mode (WANDB_MODE=offline, or push --mode offline) and 'wandb sync' later"
"""What writes runs can do without a network."""

_CONNECT_SECONDS = 10
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


def wandb_client() -> ModuleType:
    """The client, imported; it prints nothing unless ``WANDB_SILENT`` is ``false``."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return wandb


def quiet(watch_machine: bool) -> Any:
    """Settings of a run: it has what its record has, and nothing of terminal, command line, user or host.

    Args:
        watch_machine: Whether to log this machine's load.
    """
    import wandb

    silent = os.environ.get("WANDB_SILENT", "true").lower() in ("true", "1")
    return wandb.Settings(
        silent=silent,
        console="off",
        save_code=False,
        x_disable_stats=not watch_machine,
        x_disable_meta=True,
        x_disable_machine_info=True,
        disable_git=True,
        host=HIDDEN,
    )


def has_key() -> bool:
    """Whether a key is configured for the server in use; asks neither that one nor the user."""
    wandb = wandb_client()
    if wandb.run is not None:
        # Beside a run of the user's own in this process, ``login`` says no.
        return not wandb.run.offline
    return bool(wandb.login(prompt=False, verify=False))


def parse_project(path: str) -> tuple[str, str]:
    """Entity and project of ``ENTITY/PROJECT``.

    >>> parse_project("team/recurrent")
    ('team', 'recurrent')

    Raises:
        UserError: it has not that form.
    """
    parts = path.split("/")
    if len(parts) != 2 or not all(_PART.fullmatch(part) for part in parts):
        raise UserError(f"--wandb {path!r} names no project; give ENTITY/PROJECT, as in team/rnnae-bench")
    return parts[0], parts[1]


def is_run(name: object) -> bool:
    """Whether something is meant as the name of a run, as `parse_run` takes it."""
    return isinstance(name, str) and name.startswith(RUN)


def parse_run(name: str) -> str:
    """The path ``ENTITY/PROJECT/RUN`` of ``wandb:ENTITY/PROJECT/RUN``.

    >>> parse_run("wandb:team/recurrent/0123456789abcdef")
    'team/recurrent/0123456789abcdef'

    Raises:
        UserError: it has not that form.
    """
    parts = name.removeprefix(RUN).split("/")
    if not is_run(name) or len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        example = f"{RUN}team/rnnae-bench/0123456789abcdef"
        raise UserError(
            f"{name!r} names no run on W&B; give {RUN}ENTITY/PROJECT/RUN, with the run's id, as in {example}"
        )
    return "/".join(parts)


def connect(reading: bool = False) -> Any:
    """The public API of the W&B server in use, the key checked.

    Args:
        reading: Whether runs are only to be read: then there is no doing without a network.

    Raises:
        UserError: the client is set to be offline, there is no key, the server can't be reached, or it refuses the key.
    """
    wandb = wandb_client()
    mode = wandb.setup().settings.mode
    if mode in ("offline", "dryrun", "disabled"):
        raise UserError(
            f"W&B's client is set to be {mode} here; to reach W&B, set WANDB_MODE=online or run 'wandb online'"
        )
    if not has_key():
        raise UserError("W&B has no key to log in with; run 'wandb login' or set WANDB_API_KEY")
    require_reachable("its runs can't be read without a network" if reading else OFFLINE)
    with plain_errors("log in to W&B"):
        return wandb.Api(timeout=60)


def server() -> str:
    """The URL of the W&B server in use."""
    return str(wandb_client().setup().settings.base_url)


def require_reachable(otherwise: str = OFFLINE) -> None:
    """Raise `UserError` where the server in use does not answer; the client itself would try for minutes.

    Args:
        otherwise: What can be done without a network, in words.
    """
    url = urlsplit(server())
    if url.scheme in getproxies():
        return
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.hostname or "", port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"W&B's server {server()} can't be reached: {error.strerror or error}; {otherwise}") from error


@contextlib.contextmanager
def plain_errors(attempt: str) -> Iterator[None]:
    """Turn whatever the client raises inside into a `UserError` of one line.

    Args:
        attempt: What is being attempted, in words that follow "can't".
    """
    from wandb.errors import Error
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    try:
        yield
    except UserError:
        raise
    except (Error, WandbApiFailedError, OSError, ValueError, TimeoutError) as error:
        raise UserError(f"can't {attempt}: {in_a_line(error)}") from error
