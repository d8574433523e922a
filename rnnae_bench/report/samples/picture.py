"""All that a trial's samples show, one kind of picture below the other; and what of it a terminal can show."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rnnae_bench.records.attachments import PICTURES
from rnnae_bench.records.files import write_atomically
from rnnae_bench.records.record import Record
from rnnae_bench.report.heatmaps import as_png, new_figure
from rnnae_bench.report.samples import codes, confusion, images, series, symbols, unusual
from rnnae_bench.report.samples.kinds import Samples
from rnnae_bench.report.trial_picture import title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 7.5
_TITLE = 0.35


class _Kind(Protocol):
    def height_of(self, samples: Samples) -> float: ...

    def draw(self, figure: Any, samples: Samples) -> None: ...


_KINDS: tuple[_Kind, ...] = (images, series, symbols, confusion, codes, unusual)


def figure(samples: Samples, title: str) -> "Figure | None":
    """The pictures that the samples are enough for; None where they are for none.

    Args:
        samples: Arrays by name, as `rnnae_bench.records.samples` describes them.
        title: What stands above.
    """
    shown = [(height, kind) for kind in _KINDS if (height := kind.height_of(samples))]
    if not shown:
        return None
    drawn: Figure = new_figure(_WIDTH, _TITLE + sum(height for height, _ in shown))
    drawn.suptitle(title, fontsize="medium")
    parts = drawn.subfigures(len(shown), 1, squeeze=False, height_ratios=[height for height, _ in shown])[:, 0]
    for part, (_, kind) in zip(parts, shown, strict=True):
        kind.draw(part, samples)
    return drawn


def picture(samples: Samples, title: str) -> bytes | None:
    """The `figure` as a PNG; None where there is nothing to draw."""
    drawn = figure(samples, title)
    return None if drawn is None else as_png(drawn)


def write_picture(path: Path, record: Record, samples: Samples) -> Path | None:
    """Draw the `picture` of a record's samples beside its file; None where there is nothing to draw.

    Raises:
        OSError: it can't be written.
    """
    drawn = picture(samples, title(record))
    if drawn is None:
        return None
    target = path.with_suffix(PICTURES[1])
    write_atomically(target, drawn)
    return target


def text(samples: Samples) -> str:
    """Symbols, classes and continuations as lines of text; empty where inputs are no symbols."""
    return "\n".join(_lines(samples))


def _lines(samples: Samples) -> Iterator[str]:
    for row in symbols.lines_of(samples):
        for line in row:
            yield f"{line.head:<7} {line.text}"
            if any(line.wrong):
                marks = (
                    "^" * len(cell) if bad else " " * len(cell)
                    for cell, bad in zip(line.cells, line.wrong, strict=True)
                )
                yield f"{'':<7} {line.between.join(marks)}".rstrip()
    for one in symbols.continued(samples):
        yield f"goes on {one}"
