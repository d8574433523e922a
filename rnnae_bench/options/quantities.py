"""Quantities as people write them: 10k, 1.5M, and what a model is to be matched to."""

import re
from typing import Literal, cast, get_args

from rnnae_bench.errors import UserError

Quantity = Literal["parameters", "state", "seconds"]
"""What a model's width can be matched to."""

_MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def amount(text: str) -> int:
    """A whole number with a multiple of a thousand behind it, in either case.

    >>> amount("10k"), amount("1.5M"), amount("256"), amount("10_000")
    (10000, 1500000, 256, 10000)

    Raises:
        ValueError: it is none, or not above zero.
    """
    found = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)([kmg]?)", text.strip().lower())
    number = float(found[1]) * _MULTIPLES[found[2]] if found else 0.0
    if not number > 0 or number != round(number):
        raise ValueError(f"{text!r} is no whole number above 0")
    return round(number)


def matched_to(text: str) -> tuple[Quantity, int]:
    """What is to be matched, and to how much.

    >>> matched_to("parameters=10k")
    ('parameters', 10000)

    Raises:
        UserError: the text says something else.
    """
    quantity, _, much = (part.strip() for part in text.partition("="))
    if quantity not in get_args(Quantity):
        raise UserError(f"--match {text}: '{quantity}' can't be matched; write parameters=10k, state=256 or seconds=60")
    try:
        return cast(Quantity, quantity), amount(much)
    except ValueError as error:
        raise UserError(f"--match {text}: {error}; write parameters=10k, state=256 or seconds=60") from error
