"""What probes have to say; of a plugin's, what is its own to say and has a form that a record can hold."""

import numbers
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnae_bench.probes.base import Probe, in_short
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Measures

OURS = frozenset(
    {
        *Measures.__struct_fields__,
        *("step", "loss", "learning_rate", "validation", "test", "calibration", "samples", "weights", "cost"),
        *("gradient_norm", "gradient_norm_clipped", "gradient_norm_median", "gradient_norm_max"),
        *("gradient_underflow", "gradient_flow", "input_saliency", "memory_kind", "code_size", "test_examples_block"),
    }
)
"""What the names of all that the suite itself measures begin with, up to the first slash."""

_SUBJECT = re.compile(r"[a-z0-9][a-z0-9_.-]*")


def objection_to_subject(probe_class: type[Probe]) -> str | None:
    """Why a plugin's probe can't name what it measures as it does; None where it can."""
    subject = probe_class.subject
    if not (isinstance(subject, str) and _SUBJECT.fullmatch(subject)):
        return (
            f"has the subject {subject!r}; set a class attribute subject of lower-case letters, digits, '_', '.' and "
            "'-', which is the name of what it measures, or what the names begin with, before a slash"
        )
    if subject in OURS:
        return f"names what it measures {subject}, as the suite's own probes do; choose another subject"
    if probe_class.essential:
        return "says that it is essential, and no trial may depend on a plugin's probe; leave essential out"
    return None


def series_of(probe: Probe) -> dict[str, Series]:
    """The histories that a probe has; what is wrong with some of them stands in its `absent`."""
    with probe.measuring(probe.subject):
        given = probe.series()
        return _own(probe, given, as_series) if probe.added else given
    return {}


def measures_of(probe: Probe) -> dict[str, Any]:
    """The measures that a probe has; what is wrong with some of them stands in its `absent`."""
    with probe.measuring(probe.subject):
        given = probe.measures()
        return _own(probe, given, as_measure) if probe.added else given
    return {}


def absent_of(probe: Probe) -> dict[str, str]:
    """What a probe could not measure, and why."""
    if not probe.added:
        return probe.absent
    return {
        str(name) if is_own(probe, name) else f"{probe.subject}/{name}": in_short(str(reason))
        for name, reason in probe.absent.items()
    }


def _own(probe: Probe, given: Any, checked: Any) -> dict[str, Any]:
    """What is a plugin's own to name, and as `checked` wants it."""
    if not isinstance(given, Mapping):
        raise TypeError(f"a {type(given).__name__} was given, and a mapping by name is wanted")
    found = {}
    for name, value in given.items():
        try:
            if not is_own(probe, name):
                raise ValueError(
                    f"its name is left to others; {probe.subject}, or {probe.subject}/ and more, may be taken"
                )
            found[name] = checked(value)
        except (TypeError, ValueError) as error:
            key = name if is_own(probe, name) else f"{probe.subject}/{name}"
            probe.absent.setdefault(key, in_short(f"not kept: {error}"))
    return found


def is_own(probe: Probe, name: Any) -> bool:
    """Whether a plugin's probe may call by this name what it measured."""
    return isinstance(name, str) and (name == probe.subject or name.startswith(f"{probe.subject}/"))


def as_series(value: Any) -> Series:
    """A series in the form in which histories are written.

    Raises:
        TypeError: it is no series.
        ValueError: it has not one value a step, its steps don't rise, or its values are no numbers.
    """
    if not isinstance(value, Series):
        raise TypeError(f"a {type(value).__name__} was given, and a Series is wanted")
    steps, values = np.asarray(value.steps), np.asarray(value.values)
    if steps.ndim != 1 or (len(steps) and steps.dtype.kind not in "iu"):
        raise ValueError("its steps are no list of whole numbers")
    if values.dtype.kind not in "biufO" or values.ndim not in (1, 2):
        raise ValueError(f"its values, {values.dtype} {list(values.shape)}, are neither numbers nor lists of numbers")
    if len(values) != len(steps):
        raise ValueError(f"it has {len(values)} values at {len(steps)} steps")
    if len(steps) and (steps[0] < 0 or (np.diff(steps) <= 0).any()):
        raise ValueError("its steps don't rise from step to step")
    return Series(steps.astype(np.int64), values.astype(np.float64 if values.ndim == 1 else np.float32))


def as_measure(value: Any) -> int | float | str | None:
    """A measure as a record can hold it; `TypeError` where it is neither number nor text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"a {type(value).__name__} was given, and a number, a text or None is wanted")
