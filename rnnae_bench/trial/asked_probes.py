"""The probes that a run or a sweep is to measure with, beside the suite's own: their names, options and origin."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rnnae_bench.errors import UserError
from rnnae_bench.options.bracketed import parse_text, split_names, written
from rnnae_bench.plugins.registry import Handle
from rnnae_bench.plugins.unregistered import Unregistered, handle_of
from rnnae_bench.records.privacy import options_without_home


@dataclass(frozen=True)
class AskedProbe:
    """A probe that is asked for, not yet imported.

    Args:
        handle: Which.
        options: Those that were given, by dotted name.
    """

    handle: Handle
    options: dict[str, Any]

    @property
    def label(self) -> str:
        """``NAME[OPTION=VALUE,...]`` with the options that were given, as a record has it."""
        told = options_without_home(self.options)
        options = ",".join(f"{name}={written(told[name])}" for name in sorted(told))
        return f"{self.handle.name}[{options}]" if options else self.handle.name

    @property
    def origin(self) -> str:
        """The distribution with its version."""
        return f"{self.handle.distribution} {self.handle.version}"

    @property
    def is_installed(self) -> bool:
        """Whether another process could find it, and a later one the same."""
        return not isinstance(self.handle, Unregistered)


def asked_probes(named: str | type | Iterable[str | type]) -> tuple[AskedProbe, ...]:
    """The probes of these names; nothing is imported.

    Args:
        named: ``NAME`` or ``NAME[OPTION=VALUE,...]`` with commas between, or one by one; or classes, registered or not.

    Raises:
        UserError: there is no such probe, a bracket is wrong, or one is given twice.
    """
    if isinstance(named, type):
        raise UserError(f"probes is a list, got the class {named.__name__}; write [{named.__name__}]")
    found: dict[str, AskedProbe] = {}
    for one in split_names(named) if isinstance(named, str) else named:
        name, options = parse_text(one) if isinstance(one, str) else (one, {})
        asked = AskedProbe(handle_of("probe", name), options)
        if asked.handle.name in found:
            raise UserError(f"the probe '{asked.handle.name}' is given twice; give it once, its options in brackets")
        found[asked.handle.name] = asked
    return tuple(found.values())
