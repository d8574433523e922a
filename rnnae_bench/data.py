"""Data that come from elsewhere: downloaded once, and known by their checksum."""

import hashlib
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlparse

from rnnae_bench.errors import UserError, in_a_line

TIMEOUT = 30
"""Seconds without an answer after which a download is given up."""


def cache_folder() -> Path:
    """Where downloads are kept: ``rnnae-bench`` under ``$XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnae-bench"


def fetch(url: str, sha256: str, folder: Path | None = None) -> Path:
    """The file behind an address, downloaded unless it is there already.

    It is whole or not there at all, also where several processes ask for it at once. A file that lies in its place is
    checked too, so that what this gives always has the checksum.

    Args:
        url: ``https``, ``http``, ``ftp`` or ``file``; the file keeps the last part of it for its name.
        sha256: What the file must have: 64 hexadecimal digits.
        folder: Where it is kept; by default the `cache_folder`, where one checksum is one folder.

    Raises:
        UserError: it can't be downloaded, or is another file.

    >>> import tempfile
    >>> source = Path(tempfile.mkdtemp()) / "digits.csv"
    >>> _ = source.write_text("7,2,1")
    >>> fetch(source.as_uri(), checksum(source), source.parent / "cache").read_text()
    '7,2,1'
    """
    name = Path(urlparse(url).path).name
    if not re.fullmatch("[0-9a-f]{64}", sha256) or not name:
        raise UserError(
            f"cannot fetch {url!r} with the SHA-256 {sha256!r}; give the address of a file and 64 hex digits"
        )
    target = (cache_folder() / sha256[:16] if folder is None else folder) / name
    if target.is_file():
        found = checksum(target)
        if found == sha256:
            return target
        raise UserError(
            f"{target} is not the file behind {url}: its SHA-256 begins {found[:12]}, not {sha256[:12]}; "
            "delete it to download it again"
        )
    # A heavy import, and not needed where the file is there.
    from torch.hub import download_url_to_file

    waits = socket.getdefaulttimeout()
    try:
        socket.setdefaulttimeout(TIMEOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(url, str(target), hash_prefix=sha256, progress=False)
    except RuntimeError as error:
        raise UserError(
            f"what came from {url} is another file: {in_a_line(error)}; look for its new address"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"cannot download {url} ({reason}); put {name} in {target.parent} by hand") from error
    finally:
        socket.setdefaulttimeout(waits)
    return target


def checksum(path: Path) -> str:
    """SHA-256 of a file, as `fetch` wants it and as a task may declare it of a set: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
