"""Symbols: what was read, what the answer was to be, what it was; and the class that a row of symbols was given."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnae_bench.report.samples.kinds import (
    Samples,
    are_letters,
    classes,
    is_symbols,
    names_of,
    spelled,
    steps,
)

MOST = 4
"""Rows that are shown."""

WIDEST = 72
"""Characters of a row; what is longer is cut."""


@dataclass(frozen=True)
class Line:
    """A line of symbols, and which of them are wrong."""

    head: str
    cells: tuple[str, ...]
    wrong: tuple[bool, ...] = ()
    between: str = ""

    @property
    def text(self) -> str:
        """All cells side by side."""
        return self.between.join(self.cells)


def lines_of(samples: Samples) -> list[list[Line]]:
    """The lines of each row that is shown: input, target and model; empty where inputs are no symbols."""
    if not is_symbols(samples["inputs"]):
        return []
    return [[*_row(samples, row)] for row in range(min(MOST, len(samples["rows"])))]


def continued(samples: Samples) -> list[str]:
    """The text with which a model goes on after each row, the end of what it read before a bar."""
    going_on = samples.get("continuation")
    if going_on is None:
        return []
    names = names_of(samples, "inputs", int(samples["inputs"].max()) + 1)
    between = "" if are_letters(names) else " "
    known = [row for row in range(len(going_on)) if (going_on[row] >= 0).all()]
    return [
        f"{between.join(spelled(names, samples['inputs'][row, -20:]))}|{between.join(spelled(names, going_on[row]))}"
        for row in known
    ]


def _row(samples: Samples, row: int) -> Iterator[Line]:
    prediction, targets = samples["prediction"], samples["targets"]
    length = steps(samples, row)
    inputs = names_of(samples, "inputs", int(samples["inputs"].max()) + 1)
    count = prediction.shape[-1] if prediction.ndim > 1 else 0
    outputs = names_of(samples, "outputs", count)
    letters = are_letters(inputs) and are_letters(outputs)
    yield _line("input", spelled(inputs, samples["inputs"][row, :length]), (), are_letters(inputs))
    chosen = classes(samples)
    if chosen is not None:
        true, likeliest, chance = (column[row] for column in chosen)
        yield Line("target", (outputs[true],))
        yield Line("model", (f"{outputs[likeliest]} ({chance:.0%})",), (bool(true != likeliest),))
    elif is_symbols(targets) and prediction.ndim == 3:
        own = "target_lengths" in samples
        until = steps(samples, row, "target_lengths") if own else length
        true_steps, said = targets[row, :until], prediction[row, :until].argmax(-1)
        scored = samples["mask"][row, :until] if "mask" in samples else np.ones(len(true_steps), dtype=bool)
        wrong = tuple(((true_steps != said) & scored).tolist())
        yield _line("target", spelled(outputs, true_steps), (), letters if not own else are_letters(outputs))
        yield _line("model", spelled(outputs, said), wrong, letters if not own else are_letters(outputs))
    elif prediction[row].size == 1:
        yield Line("target", (f"{float(np.ravel(targets[row])[0]):.4g}",))
        yield Line("model", (f"{float(np.ravel(prediction[row])[0]):.4g}",))


def _line(head: str, cells: list[str], wrong: tuple[bool, ...], letters: bool) -> Line:
    """A line, cut where it is too wide."""
    width = WIDEST if letters else WIDEST // 3
    if len(cells) > width:
        cells, wrong = [*cells[: width - 1], "…"], (*wrong[: width - 1], False) if wrong else ()
    shown = ["␣" if cell == " " else "⏎" if cell == "\n" else cell for cell in cells]
    return Line(head, tuple(shown), wrong, "" if letters else " ")


def height_of(samples: Samples) -> float:
    """Inches that `draw` needs; 0 where there is nothing to draw."""
    rows = lines_of(samples)
    count = sum(len(row) + 0.5 for row in rows) + sum(len(_folded(text)) + 0.5 for text in continued(samples))
    return 0.17 * count + 0.15 if rows else 0.0


def draw(figure: Any, samples: Samples) -> None:
    """The lines as text in letters of one width, what is wrong in red and underlined."""
    axes = figure.subplots()
    axes.axis("off")
    rows, texts = lines_of(samples), continued(samples)
    total = sum(len(row) + 0.5 for row in rows) + sum(len(_folded(text)) + 0.5 for text in texts)
    axes.set_ylim(total, -0.3)
    axes.set_xlim(0, 8 + WIDEST)
    style = {"family": "monospace", "fontsize": 8, "va": "center", "parse_math": False}
    height = 0.0
    for row in rows:
        for line in row:
            axes.text(0, height, line.head, color="0.45", **style)
            place = 8.0
            for index, cell in enumerate(line.cells):
                wrong = bool(line.wrong) and line.wrong[index]
                axes.text(place, height, cell, color="tab:red" if wrong else "black", **style)
                if wrong:
                    axes.plot([place, place + len(cell)], [height + 0.42] * 2, color="tab:red", linewidth=0.8)
                place += len(cell) + len(line.between)
            height += 1
        height += 0.5
    for text in texts:
        for index, part in enumerate(_folded(text)):
            axes.text(0, height, "goes on" if not index else "", color="0.45", **style)
            axes.text(8, height, part, **style)
            height += 1
        height += 0.5


def _folded(text: str) -> list[str]:
    shown = text.replace("\n", "⏎")
    return [shown[start : start + WIDEST] for start in range(0, len(shown), WIDEST)]
