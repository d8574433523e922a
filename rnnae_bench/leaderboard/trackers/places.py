"""Where loggers left what they logged of trials, and the command that shows or sends it."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_NAMED = 4
"""The most runs that a command names one by one."""


def written_by(folder: Path, names: Iterable[str], identities: Sequence[str]) -> list[str]:
    """A line for each logger that wrote, and one for the command that goes with it; needs no torch.

    Args:
        folder: The folder of the records; loggers write under its ``logs``.
        names: The loggers: ``wandb``, ``csv``, ``tensorboard``.
        identities: The trials' ids.
    """
    root = folder / "logs"
    return [line for name in names for line in (_wandb if name == "wandb" else _local)(root, name, identities)]


def _local(root: Path, name: str, identities: Sequence[str]) -> Iterator[str]:
    written = [root / name / identity for identity in identities if (root / name / identity).is_dir()]
    yield _line(name, written, root / name)
    if written and name == "tensorboard":
        yield _line("", [f"tensorboard --logdir {shlex.quote(str(root / name))}"], root)


def _wandb(root: Path, name: str, identities: Sequence[str]) -> Iterator[str]:
    # A trial that is run again gets a folder of its own, whose name begins with the time.
    runs = [sorted((root / name).glob(f"*run-*-{identity}"), key=_moment)[-1:] for identity in identities]
    written = [one for newest in runs for one in newest]
    yield _line(name, written, root / name)
    offline = [one for one in written if one.name.startswith("offline-")]
    if offline:
        paths = " ".join(shlex.quote(str(one)) for one in offline)
        every = f"{shlex.quote(str(root / name))}/offline-run-*"
        yield _line("", [f"wandb sync {paths if len(offline) <= _NAMED else every}"], root)


def _moment(run: Path) -> str:
    return run.name.removeprefix("offline-")


def _line(name: str, written: Sequence[Path | str], folder: Path) -> str:
    if not written:
        return f"{name:<11} nothing was written"
    return f"{name:<11} {written[0] if len(written) == 1 else f'{folder} ({len(written)} trials)'}"
