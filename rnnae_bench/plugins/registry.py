"""The registry: installed entry points as lazy handles. Built-ins and plugins come in by the same groups.

The suite's own probes are part of every trial and stand in no group: that of the probes is for further ones.
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, distributions, entry_points
from typing import Any, Literal

from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.plugins.forks import one_process
from rnnae_bench.plugins.source import ClassSource, defect, read_class

Kind = Literal["model", "task", "probe"]
GROUPS: dict[Kind, str] = {
    "model": "rnnae_bench.models",
    "task": "rnnae_bench.tasks",
    "probe": "rnnae_bench.probes",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_VALUE = re.compile(r"(?P<module>\w+(\.\w+)*):(?P<attribute>\w+)")


@dataclass(frozen=True)
class Handle:
    """One registered model, task or probe, not yet imported."""

    kind: Kind
    name: str
    value: str
    """Where the class is, as ``module:Class``."""
    distribution: str
    """The installed distribution that registers it."""
    version: str

    @property
    def module(self) -> str:
        """The module to import."""
        return self.value.partition(":")[0]

    @property
    def attribute(self) -> str:
        """The class in that module."""
        return self.value.partition(":")[2]

    def load(self) -> Any:
        """Import the class.

        Raises:
            UserError: the import fails, for whatever reason; names plugin, distribution and reason in one line.
        """
        malformed = self._malformed()
        if malformed:
            raise self._refusal(malformed)
        try:
            with one_process():
                return getattr(import_module(self.module), self.attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # it may want to leave (SystemExit), but not with us
            raise self._refusal(f"{type(error).__name__}: {in_a_line(error)}") from error

    def broken(self) -> str | None:
        """Why the class is bound not to load, found without importing anything; None where nothing speaks for it."""
        try:
            return self._malformed() or defect(self.module, self.attribute)
        except Exception as error:  # nested beyond what Python's parser takes, say
            return f"its source can't be read: {type(error).__name__}: {in_a_line(error)}"

    def source(self) -> ClassSource | None:
        """What the source of the class says of it, without importing it; None where the source doesn't show it."""
        return read_class(self.module, self.attribute)

    def _malformed(self) -> str | None:
        if not _NAME.fullmatch(self.name):
            return f"the name '{self.name}' must be of lower-case letters, digits, '_', '.' and '-'"
        if not _VALUE.fullmatch(self.value):
            return f"its entry point '{self.value}' must read module:Class"
        return None

    def _refusal(self, reason: str) -> UserError:
        return UserError(
            f"cannot load the {self.kind} '{self.name}' ({self.value}) of {self.distribution} {self.version}: "
            f"{reason}; fix or uninstall that distribution"
        )


class Registry:
    """All registered objects of one kind, by name.

    Args:
        kind: What they are.
        handles: The handles, in any order.
    """

    def __init__(self, kind: Kind, handles: Iterable[Handle]) -> None:
        self.kind = kind
        self._handles = tuple(sorted(handles, key=lambda handle: (handle.name, handle.distribution)))

    def handles(self) -> tuple[Handle, ...]:
        """Every handle, sorted by name, those of contested names included."""
        return self._handles

    def names(self) -> list[str]:
        """Every name once, sorted."""
        return sorted({handle.name for handle in self._handles})

    def conflict(self, name: str) -> str | None:
        """Who claims the name, where more than one distribution does."""
        claims = [handle for handle in self._handles if handle.name == name]
        if len(claims) < 2:
            return None
        return "claimed by " + " and by ".join(f"{claim.distribution} {claim.version}" for claim in claims)

    def get(self, name: str) -> Handle:
        """The handle of that name.

        Raises:
            UserError: there is none, or several distributions claim the name.
        """
        contested = self.conflict(name)
        if contested:
            raise UserError(f"the {self.kind} name '{name}' is {contested}; uninstall all but one of them")
        for handle in self._handles:
            if handle.name == name:
                return handle
        close = get_close_matches(name, self.names(), n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        known = ", ".join(self.names()) or "none"
        raise UserError(f"there is no {self.kind} '{name}'; {hint}the known {self.kind}s are {known}")


def models() -> Registry:
    """The registered models of this environment."""
    return registry("model")


def tasks() -> Registry:
    """The registered tasks of this environment."""
    return registry("task")


def probes() -> Registry:
    """The registered probes of this environment: those that measure beside the suite's own."""
    return registry("probe")


def parse_task(text: str) -> tuple[str, str]:
    """Split ``NAME[:VARIANT]``; a bare name means ``standard``.

    >>> parse_task("copy:smoke"), parse_task("copy")
    (('copy', 'smoke'), ('copy', 'standard'))

    Raises:
        UserError: the text is not of that form.
    """
    name, colon, variant = text.partition(":")
    parts = (name, variant if colon else "standard")
    if not all(map(_NAME.fullmatch, parts)):
        raise UserError(f"'{text}' is not a task; write NAME or NAME:VARIANT, such as copy:smoke")
    return parts


def registry(kind: Kind) -> Registry:
    """What is registered of a kind in this environment."""
    return Registry(
        kind,
        (
            Handle(kind, point.name, point.value.strip(), point.dist.name, point.dist.version)
            for point in _points(GROUPS[kind])
            if point.dist
        ),
    )


def _points(group: str) -> list[EntryPoint]:
    try:
        return [*entry_points(group=group)]
    except Exception:
        # The list of one distribution, perhaps not even of a plugin, can't be read: take those of the others.
        found: list[EntryPoint] = []
        for distribution in distributions():
            with contextlib.suppress(Exception):
                found += distribution.entry_points.select(group=group)
        return found
