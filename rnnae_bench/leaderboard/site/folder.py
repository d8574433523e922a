"""A generated folder that is replaced whole: whoever looks at it sees the old one or the new one."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnae_bench.errors import UserError
from rnnae_bench.records.files import require_writable

MARK = ".rnnae-bench-site"
"""The file by which a folder that was made here is known; no other is ever replaced."""


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """A new empty folder to write into, which takes the place of `target` when the block ends without an error.

    It lies beside the target until then; what a killed process left there is cleared away by the next.

    Raises:
        UserError: the target is something else than an earlier folder of ours, another process is replacing it, or
            it can't be written.
    """
    if target.is_symlink() or not target.is_file():
        require_writable(target, "a site")
    target = target.resolve()
    _require_ours(target)
    try:
        with _guarded(target):
            new, old = f".{target.name}.new.", f".{target.name}.old"
            _clear(target, new, old)
            fresh = Path(tempfile.mkdtemp(prefix=new, dir=target.parent))
            try:
                fresh.chmod(0o755)
                yield fresh
                (fresh / MARK).write_text("Made by 'rnnae-bench leaderboard build'; replaced whole by the next.\n")
                if target.exists():
                    target.rename(target.with_name(old))
                fresh.rename(target)
                shutil.rmtree(target.with_name(old), ignore_errors=True)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cannot write a site to {target}: {error.strerror}; fix that, or choose another --out"
        ) from error


@contextmanager
def _guarded(target: Path) -> Iterator[None]:
    """The folder that the target lies in, made if need be, kept from other processes that replace something there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    guard = os.open(target.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"cannot write a site to {target}: another build is writing there; wait for it") from error
        yield
    finally:
        os.close(guard)


def _require_ours(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"cannot write a site to {target}: it is a file; choose another --out")
    if not (target / MARK).is_file() and any(target.iterdir()):
        raise UserError(
            f"cannot write a site to {target}: it holds files that are no site of rnnae-bench; choose another --out"
        )


def _clear(target: Path, new: str, old: str) -> None:
    """Put the old folder back where a process was killed between the two renames, and remove unfinished ones."""
    kept = target.with_name(old)
    if kept.exists() and not target.exists():
        kept.rename(target)
    for leftover in (kept, *target.parent.glob(f"{new}*")):
        shutil.rmtree(leftover, ignore_errors=True)
