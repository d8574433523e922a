"""How far an answer reaches: what a task's sets of several lengths show together."""

from collections.abc import Mapping

from rnnae_bench.contracts.card import Direction


def longest_solved(measured: Mapping[int, float], solved: float, direction: Direction = "maximize") -> int:
    """The longest length that is solved, and all shorter ones with it; 0 where the shortest is not.

    For `Task.over_sets`: a length that is solved beyond one that is not does not count. A value that is not a number
    solves nothing.

    >>> longest_solved({40: 1.0, 80: 0.995, 160: 0.7, 320: 0.99}, solved=0.99)
    80

    Args:
        measured: A metric by length; in any order.
        solved: The value from which on a length counts as solved.
        direction: Whether the metric is the better the greater (``maximize``) or the smaller (``minimize``).
    """
    longest = 0
    for length, value in sorted(measured.items()):
        if not (value >= solved if direction == "maximize" else value <= solved):
            break
        longest = length
    return longest
