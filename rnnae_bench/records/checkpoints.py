"""Checkpoints of trials that are running: one file each, in a subfolder of the records."""

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnae_bench.records.files import alone, discard_temporaries, write_atomically

FORMAT = "rnnae-bench checkpoint 1"
"""What a checkpoint's first line begins with."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a trial between two optimiser steps."""

    identity: str
    """The trial's id."""
    step: int
    """Optimiser steps done."""
    made_by: dict[str, Any]
    """Libraries, source and data that it came from; the state is of no use to others."""
    state: bytes
    """What the training goes on from."""


@dataclass(frozen=True)
class Checkpoints:
    """A folder of checkpoints, ``ID.ckpt``; no other file in there is read or written.

    Args:
        folder: Where they lie; made when the first is written.
    """

    folder: Path

    def path(self, identity: str) -> Path:
        """Where the checkpoint of that trial lies, or would."""
        return self.folder / f"{identity}.ckpt"

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace a trial's checkpoint, whole or not at all.

        Raises:
            OSError: there is no room for it, or the folder can't be written; what was there is there still.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        header = {
            "format": FORMAT,
            "id": checkpoint.identity,
            "step": checkpoint.step,
            "made_by": checkpoint.made_by,
            "sha256": hashlib.sha256(checkpoint.state).hexdigest(),
        }
        with alone(self.folder):
            write_atomically(self.path(checkpoint.identity), json.dumps(header).encode() + b"\n" + checkpoint.state)

    def read(self, identity: str) -> Checkpoint | None:
        """A trial's checkpoint; None where there is none.

        Raises:
            ValueError: the file is damaged, or no checkpoint of this trial.
        """
        try:
            line, _, state = self.path(identity).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ValueError(f"it can't be read ({error.strerror})") from error
        try:
            header = json.loads(line)
            form, digest = header["format"], header["sha256"]
            found = Checkpoint(str(header["id"]), int(header["step"]), dict(header["made_by"]), state)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError("it is no checkpoint of rnnae-bench") from error
        if form != FORMAT:
            raise ValueError(f"it is a {form!r}, and this version reads {FORMAT!r}")
        if found.identity != identity:
            raise ValueError(f"it is of trial {found.identity}")
        if hashlib.sha256(state).hexdigest() != digest:
            raise ValueError("it is damaged (its checksum does not fit)")
        return found

    def discard(self, identity: str) -> None:
        """Remove a trial's checkpoint; that it is not there is no error."""
        self.path(identity).unlink(missing_ok=True)

    def identities(self) -> list[str]:
        """The trials that have one."""
        return sorted(path.stem for path in self.folder.glob("*.ckpt"))

    def tidy(self) -> None:
        """Remove what killed writes left, unless somebody is writing there just now."""
        with contextlib.suppress(OSError), alone(self.folder) as is_alone:
            if is_alone:
                discard_temporaries(self.folder)
