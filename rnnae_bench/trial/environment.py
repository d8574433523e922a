"""Where a trial ran: machine, libraries, and the state of the source it ran from."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import rnnae_bench
from rnnae_bench.errors import UserError
from rnnae_bench.records.record import Git, Host

LIBRARIES = ("rnnae-bench", "torch", "lightning", "torchvision", "torchmetrics", "numpy")


def require_matching_torchvision() -> None:
    """Raise `UserError` where the installed torch and torchvision were not built for each other.

    A mismatch shows as an import error deep inside torchvision; a CPU-only torch beside the default torchvision
    is the usual one.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"torch {_version('torch')} and torchvision {_version('torchvision')} do not match ({reason}); "
            "install both together from one index: pip install --force-reinstall torch torchvision"
        ) from error


@cache
def processor() -> str:
    """The name of the CPU."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def cores() -> int | None:
    """The logical processors that this process may use, or might when this was first asked.

    A worker asks before it keeps to some of them, so that its records tell of the machine.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def host() -> Host:
    """The machine: processor, cores, memory, operating system."""
    pages = os.sysconf("SC_PHYS_PAGES") if "SC_PHYS_PAGES" in os.sysconf_names else None
    return Host(
        processor=processor(),
        cores=cores(),
        memory_bytes=pages * os.sysconf("SC_PAGE_SIZE") if pages else None,
        system=f"{platform.system()} {platform.release()}",
    )


def versions() -> dict[str, str]:
    """Python's and the main libraries' versions."""
    return {"python": platform.python_version(), **{library: _version(library) for library in LIBRARIES}}


@cache
def git() -> Git | None:
    """Commit and dirty flag of the checkout that this package was imported from; None for an installed one.

    As of the first call in this process: what runs is the source as it was imported.
    """
    source = Path(rnnae_bench.__file__).resolve()
    if _git(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(source.parent, "rev-parse", "HEAD")
    changes = _git(source.parent, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None or changes is None else Git(commit=commit, dirty=bool(changes))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
