"""Text, numbers and tables as LaTeX's booktabs sets them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rnnae_bench.records.legible import printable
from rnnae_bench.statistics.estimates import Estimate

NEEDS = r"% needs \usepackage{booktabs}"
"""The line above all tables."""

_SPECIAL: dict[str, str | int | None] = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # At the beginning of a row, LaTeX would take it for an argument of the row before.
    "[": "{[}",
    "]": "{]}",
    "`": r"\textasciigrave{}",
    '"': "''",
    "-": "-{}",
    **{one: f"\\{one}" for one in "{}$&#_%"},
}


def escaped(text: str) -> str:
    r"""Text that LaTeX sets as it is, in one line.

    >>> escaped("gru[hidden_size=64]"), escaped("5 %"), escaped("a--b")
    ('gru{[}hidden\\_size=64{]}', '5 \\%', 'a-{}-{}b')
    """
    return printable(" ".join(text.split())).translate(str.maketrans(_SPECIAL))


def bold(text: str) -> str:
    r"""Bold text, its mathematics too.

    >>> bold("$0.5$")
    '{\\boldmath\\textbf{$0.5$}}'
    """
    return rf"{{\boldmath\textbf{{{text}}}}}" if text else text


def estimated(estimate: Estimate | None, signed: bool = False, with_interval: bool = True) -> str:
    """A value with or without its interval, to the digits that the interval leaves a meaning; a dash for None.

    >>> estimated(Estimate(0.99897, 0.99511, 1.0)), estimated(None)
    ('$0.9990$ {[}$0.9951, 1.0000${]}', '--')
    """
    if estimate is None:
        return "--"
    value, _, interval = estimate.text(signed).partition(" ")
    if not interval or not with_interval:
        return _math(value)
    inside = interval[1:-1]
    return f"{_math(value)} {{[}}{inside if inside == 'all equal' else _math(inside)}{{]}}"


def plus_minus(value: float | None, deviation: float | None) -> str:
    r"""A value and its standard deviation, both to the place of the deviation's second digit; a dash for None.

    >>> plus_minus(0.97281, 0.0503), plus_minus(1234.5, 87.0), plus_minus(0.5, None), plus_minus(0.1, 0.0)
    ('$0.973 \\pm 0.050$', '$1234 \\pm 87$', '$0.5$', '$0.1 \\pm 0$')
    """
    if value is None:
        return "--"
    if deviation is None:
        return _math(f"{value:z.4g}")
    if not deviation > 1e-12 * abs(value) or not math.isfinite(deviation):
        return _math(rf"{value:z.4g} \pm {deviation:.2g}")
    places = 1 - math.floor(math.log10(deviation))
    if places > 8:
        return _math(rf"{value:z.6g} \pm {deviation:.2g}")
    # A deviation of hundreds is rounded to tens, and with it the value.
    rounded = [round(one, places) for one in (value, deviation)]
    return _math(rf"{rounded[0]:z.{max(0, places)}f} \pm {rounded[1]:.{max(0, places)}f}")


def plain(value: float | int | None) -> str:
    """A number with four significant digits, a whole one with all of them; a dash for None.

    >>> plain(0.069171), plain(19081), plain(1.5e-9)
    ('$0.06917$', '19,081', '$1.5 \\\\times 10^{-9}$')
    """
    if value is None:
        return "--"
    return f"{value:,}" if isinstance(value, int) else _math(f"{value:z.4g}")


def _math(text: str) -> str:
    """Numbers in mathematics, where a minus is no hyphen and an exponent stands above."""
    parts = text.split(" ")
    return f"${' '.join(_power(one) for one in parts)}$"


def _power(number: str) -> str:
    digits, letter, exponent = number.partition("e")
    comma = "," * exponent.endswith(",")
    return rf"{digits} \times 10^{{{int(exponent.rstrip(','))}}}{comma}" if letter and exponent else number


@dataclass
class LatexTable:
    """A floating table.

    Args:
        label: What ``\\ref`` names it by.
        caption: LaTeX, as are all cells.
        heads: Of the columns.
        align: A letter a column: ``l`` or ``r``.
    """

    label: str
    caption: str
    heads: Sequence[str]
    align: str
    rows: list[Sequence[str]] = field(default_factory=list)
    below: list[Sequence[str]] = field(default_factory=list)
    """Rows below a line of their own: what needs no training."""

    def __str__(self) -> str:
        lines = [_row(self.heads), r"\midrule", *map(_row, self.rows)]
        if self.below:
            lines += [r"\midrule", *map(_row, self.below)]
        return "\n".join(
            [
                r"\begin{table}",
                r"  \centering",
                rf"  \caption{{{self.caption}}}",
                rf"  \label{{tab:{self.label}}}",
                rf"  \begin{{tabular}}{{{self.align}}}",
                r"    \toprule",
                *(f"    {line}" for line in lines),
                r"    \bottomrule",
                r"  \end{tabular}",
                r"\end{table}",
            ]
        )


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def label(*parts: str) -> str:
    """A label of letters, digits and hyphens.

    >>> label("copy:standard[lag=5]")
    'copy-standard-lag-5'
    """
    letters = "".join(one if one.isascii() and one.isalnum() else " " for one in " ".join(parts))
    return "-".join(letters.split())
