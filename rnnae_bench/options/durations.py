"""Durations as people write them."""

import re

from rnnae_bench.errors import UserError


def seconds(duration: str | float) -> float:
    """Seconds in a duration: a number of them, or hours, minutes and seconds with their letters.

    >>> seconds(90.0), seconds("10m"), seconds("1h30m"), seconds("1.5s")
    (90.0, 600.0, 5400.0, 1.5)

    Raises:
        ValueError: it is none.
    """
    number = r"(\d+\.?\d*|\.\d+)"
    match = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s?)?", str(duration).strip())
    if match is None or not any(match.groups()):
        raise ValueError(f"{duration!r} is no duration")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + rest


def positive_seconds(duration: str | float, named: str) -> float:
    """Seconds in the duration that an option was given.

    Args:
        duration: As of `seconds`.
        named: The option.

    Raises:
        UserError: it is no duration, or none that is longer than nothing.
    """
    try:
        found = seconds(duration)
    except ValueError:
        found = 0.0
    if not found > 0:
        raise UserError(f"{named} is '{duration}'; give a duration above zero, as 30s, 10m or 2h")
    return found
