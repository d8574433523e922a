"""Who is working on which trial, so that several sweeps over one folder share the work.

A lease is a file ``IDENTITY.GENERATION`` that names its owner, made by a hard link: that is atomic on every file system
that several machines can share, and it fails where the file exists. An owner shows that it lives by a counter in a file
of its own, raised every few seconds. Whoever finds a lease whose owner is dead makes the next generation; only one can.

What a killed owner leaves is removed by the next one to come or to go.

No clock is compared with another one: an owner on this machine is dead when its process is, and one elsewhere when its
counter has stood still for a while by the observer's own monotonic clock.
"""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rnnae_bench.errors import UserError
from rnnae_bench.records.files import write_atomically

BEAT_SECONDS = 5.0
"""Between two signs of life."""

PATIENCE_SECONDS = 60.0
"""How long an owner on another machine may show no sign of life."""


@dataclass(frozen=True)
class _Life:
    """What tells one process from all others on a machine that is up."""

    machine: str
    pid: int
    started: str
    """Start time in clock ticks since boot, which no change of the clock moves."""

    @classmethod
    def mine(cls) -> "_Life":
        return cls(_machine(), os.getpid(), _started(os.getpid()) or "")

    def surely_over(self) -> bool:
        """Whether the process was on this machine and is no more; False where that can't be known."""
        return self.machine == _machine() and _started(self.pid) != self.started


def _machine() -> str:
    """This boot of this machine, and the process ids that count here (containers have their own)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"unknown {secrets.token_hex(8)}"


def _started(pid: int) -> str | None:
    """When a process started; None where there is none (or only a zombie)."""
    try:
        # The name, in parentheses, may hold spaces, and bytes of any kind.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


class Leases:
    """The leases of one sweep. Use it as a context: it shows life inside, and gives back everything at the end.

    Args:
        folder: Where the leases lie; made when needed.
        beat: Seconds between two signs of life.
        patience: Seconds without one after which an owner on another machine counts as dead.

    Raises:
        UserError: on entering, where the folder can't be written.
    """

    def __init__(self, folder: Path, beat: float = BEAT_SECONDS, patience: float = PATIENCE_SECONDS) -> None:
        self._folder, self._beat, self._patience = folder, beat, patience
        self._owner = secrets.token_hex(8)
        self._held: dict[str, Path] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._live, name="heartbeat", daemon=True)

    def __enter__(self) -> "Leases":
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._show_life(0)
        except OSError as error:
            raise UserError(
                f"cannot write leases to {self._folder}: {error.strerror}; make room there, or choose another --out"
            ) from error
        self._clear_away_the_dead()
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._heart.join()
        for identity in list(self._held):
            self.release(identity)
        self._clear_away_the_dead()
        with contextlib.suppress(OSError):
            self._life_file(self._owner).unlink(missing_ok=True)

    def acquire(self, identity: str) -> bool:
        """Take the lease of a trial. False where a living owner has it, or somebody else was quicker.

        Look for the record again once you have it: another owner may have finished the trial just before.

        Raises:
            OSError: the folder can't be written.
        """
        if identity in self._held:
            return True
        generations = self._generations(identity)
        latest = max(generations, default=-1)
        if latest >= 0 and not self._is_dead(generations[latest]):
            return False
        mine = self._folder / f"{identity}.{latest + 1}"
        draft = self._folder / f".{identity}.{self._owner}"
        draft.write_text(self._owner, encoding="utf-8")
        try:
            os.link(draft, mine)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        others = [path for path in self._generations(identity).values() if path != mine]
        # Where the latest lease was removed just now, another owner may have begun to count anew. Each looks once more
        # after it made its own lease, so that at least the later one sees the other's.
        if not all(self._is_dead(path) for path in others):
            mine.unlink(missing_ok=True)
            return False
        self._held[identity] = mine
        for old in others:
            old.unlink(missing_ok=True)
        return True

    def release(self, identity: str) -> None:
        """Give a lease back."""
        mine = self._held.pop(identity, None)
        if mine is not None:
            with contextlib.suppress(OSError):
                mine.unlink(missing_ok=True)

    def _generations(self, identity: str) -> dict[int, Path]:
        return {int(path.suffix[1:]): path for path in self._leases(identity)}

    def _leases(self, identity: str = "*") -> Iterator[Path]:
        found = self._folder.glob(f"{identity}.*")
        return (path for path in found if path.suffix[1:].isdigit() and not path.name.startswith("."))

    def _clear_away_the_dead(self) -> None:
        """Remove the leases and the lives of those who could not do so themselves."""
        with contextlib.suppress(OSError):
            for lease in self._leases():
                if self._is_dead(lease):
                    lease.unlink(missing_ok=True)
            for life in self._folder.glob("*.life"):
                if self._is_over(life.stem):
                    for piece in [*self._folder.glob(f".*.{life.stem}"), *self._folder.glob(f".{life.name}.*")]:
                        piece.unlink(missing_ok=True)
                    life.unlink(missing_ok=True)

    def _is_dead(self, lease: Path) -> bool:
        """Whether the owner of a lease is gone; also where the lease is, given back just now."""
        try:
            return self._is_over(lease.read_text(encoding="utf-8"))
        except OSError:
            return True

    def _is_over(self, owner: str) -> bool:
        try:
            life = json.loads(self._life_file(owner).read_text(encoding="utf-8"))
            known = _Life(life["machine"], life["pid"], life["started"])
        except (OSError, ValueError, KeyError):
            # Its life file is the last thing that an owner removes, and the first that it makes.
            return True
        if known.machine == _machine():
            return known.surely_over()
        beats, since = self._seen.get(owner, (-1, 0.0))
        if life["beats"] != beats:
            self._seen[owner] = (life["beats"], time.monotonic())
            return False
        return time.monotonic() - since > self._patience

    def _live(self) -> None:
        beats = 0
        while not self._over.wait(self._beat):
            beats += 1
            # A full disk stops the signs of life, and must not end the sweep.
            with contextlib.suppress(OSError):
                self._show_life(beats)

    def _show_life(self, beats: int) -> None:
        life: dict[str, Any] = {**vars(_Life.mine()), "beats": beats}
        write_atomically(self._life_file(self._owner), json.dumps(life).encode())

    def _life_file(self, owner: str) -> Path:
        return self._folder / f"{owner}.life"
