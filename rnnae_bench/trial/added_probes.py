"""Probes of plugins, checked and ready to measure in a trial beside the suite's own."""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from jsonargparse import ArgumentParser
from lightning.pytorch.utilities.seed import isolate_rng

from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.options.explained import Complaint
from rnnae_bench.options.nested import nest
from rnnae_bench.options.parsing import MODE
from rnnae_bench.plugins.forks import one_process
from rnnae_bench.probes import Probe
from rnnae_bench.probes.reporting import objection_to_subject
from rnnae_bench.trial.asked_probes import AskedProbe
from rnnae_bench.trial.process_state import fresh_process


class AddedProbe:
    """A probe of a plugin, with its options.

    Args:
        asked: Which, and the options.

    Raises:
        UserError: it can't be imported, is no `Probe`, has no name of its own for what it measures, or refuses the
            options.
    """

    def __init__(self, asked: AskedProbe) -> None:
        self.asked = asked
        loaded = asked.handle.load()
        where = f"the probe '{asked.handle.name}' ({asked.handle.value})"
        if not (isinstance(loaded, type) and issubclass(loaded, Probe)):
            raise UserError(
                f"{where} is no rnnae_bench.Probe, so that nobody could ask it what it measured, and its errors would "
                "end the trial; derive it from rnnae_bench.Probe, which is a Lightning callback"
            )
        self.probe_class: type[Probe] = loaded
        objection = objection_to_subject(self.probe_class)
        if objection:
            raise UserError(f"{where} {objection}")
        with self._explained():
            parser = ArgumentParser(exit_on_error=False, parser_mode=MODE)
            parser.add_class_arguments(self.probe_class, "probe", instantiate=False)
            self._parser, self._options = parser, parser.parse_object({"probe": nest(asked.options)})
        with fresh_process(), isolate_rng(include_cuda=False):
            self.build()

    @property
    def trains_as_one(self) -> bool:
        """Whether it can measure several trials that are trained as one: it has an ``of_member(member)``."""
        return callable(getattr(self.probe_class, "of_member", None))

    def build(self) -> Probe:
        """The probe, anew; `UserError` where it refuses its options."""
        with self._explained(), one_process():
            probe = self.probe_class(**self._parser.instantiate(self._options).as_dict().get("probe", {}))
        probe.added = True
        return probe

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Tell in one line, with the probe's name, what goes wrong in the block."""
        label = self.asked.label
        try:
            yield
        except argparse.ArgumentError as error:
            raise UserError(f"the probe '{label}': {_of_options(Complaint.of(str(error)))}") from error
        except (Exception, SystemExit) as error:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            raise UserError(f"the probe '{label}' can't be made: {kind}{in_a_line(error)}") from error


def _of_options(complaint: Complaint) -> str:
    """A parser's complaint in the words of brackets."""
    if complaint.unknown:
        return f"{complaint.unknown.lstrip('-').removeprefix('probe.')} is not one of its options"
    wrong = (complaint.wrong or "").removeprefix("probe.")
    return f"its option {wrong} can't be {complaint.given}" if wrong else complaint.message.replace("probe.", "")


def added_probes(asked: Sequence[AskedProbe]) -> tuple[AddedProbe, ...]:
    """Probes, checked.

    Raises:
        UserError: one of them is not as `AddedProbe` wants it, or two give what they measure one name.
    """
    found = tuple(map(AddedProbe, asked))
    by_subject: dict[str, str] = {}
    for one in found:
        subject, name = one.probe_class.subject, one.asked.handle.name
        if subject in by_subject:
            raise UserError(
                f"the probes '{by_subject[subject]}' and '{name}' both name what they measure {subject}; take one"
            )
        by_subject[subject] = name
    return found


def origins(probes: Sequence[AddedProbe]) -> dict[str, str]:
    """Probes by their labels, each with the distribution that it is of and its version, as a record has them."""
    return {one.asked.label: one.asked.origin for one in probes}


def as_one_objection(probes: Sequence[AddedProbe]) -> str | None:
    """Why trials with these probes can't be trained as one; None where they can."""
    alone = [one.asked.handle.name for one in probes if not one.trains_as_one]
    return f"its probe '{alone[0]}' measures one model at a time (it has no of_member)" if alone else None


def of_member(probe: Probe, member: int) -> Probe:
    """What an added probe measured of one of K models trained as one; where it can't say, nothing but the reason."""
    given: Any = None
    with probe.measuring(probe.subject):
        given = probe.of_member(member)  # type: ignore[attr-defined]
        if not isinstance(given, Probe):
            raise TypeError(f"of_member gave a {type(given).__name__}, and a probe is wanted")
        given.added = True
        return given
    return _Silent(probe)


class _Silent(Probe):
    """Has nothing to say but what another could not measure."""

    added = True

    def __init__(self, probe: Probe) -> None:
        self.__dict__["_absent"] = probe.absent
