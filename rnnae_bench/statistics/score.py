"""The score: a metric's value as its share of the way from a floor to a ceiling."""


def score(value: float, floor: float, ceiling: float) -> float:
    """``(value - floor) / (ceiling - floor)``: 0 at the floor, 1 at the ceiling, whichever of them is larger.

    Where the two are one (in a record that is not ours, say) there is no such way, and every score is 0.

    >>> score(0.75, floor=0.5, ceiling=1.0), score(0.5, floor=1.0, ceiling=0.0)
    (0.5, 0.5)
    """
    # The floor's own score is 0, not -0.
    return float((value - floor) / (ceiling - floor)) + 0.0 if ceiling != floor else 0.0


def unscored(score: float, floor: float, ceiling: float) -> float:
    """The value that has a score: the inverse of `score`."""
    return floor + score * (ceiling - floor)
