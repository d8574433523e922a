"""``rnnae-bench figure``: a figure for a paper, from the records in a folder."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rnnae_bench.cli.common import RUNS, remarks_told
from rnnae_bench.errors import UserError
from rnnae_bench.records.files import require_writable_file, write_atomically
from rnnae_bench.records.legible import printable

if TYPE_CHECKING:
    from rnnae_bench.report.paper.style import PaperFigure

FORMATS = (".svg", ".pdf", ".png")
"""What the name of the figure's file may end in."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench figure",
        description="Draw a figure for a paper: curves (validation over training, a band over seeds), gradients "
        "(heatmaps through sequence time, side by side) or cost (against the score, with the Pareto front).",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("kind", metavar="KIND", help="curves, gradients or cost")
    add("ids", nargs="*", metavar="ID", help="only these records, by id or its beginning (default: all)")
    add("--out", action="append", default=[], metavar="FILE", help="write it to FILE.svg, .pdf or .png; repeat it")
    add("--from", dest="source", default=RUNS, metavar="FOLDER", help=f"folder of records (default: {RUNS})")
    add("--task", action="append", default=[], metavar="NAME[:VARIANT]", help="only this task; repeat it")
    add("--model", action="append", default=[], metavar="MODEL", help="only this model (gru, 'gru[layers=2]'); repeat")
    add("--width", default="column", metavar="WIDTH", help="column (3.25 in, the default), text (6.75 in), or inches")
    add("--height", metavar="INCHES", help="default: as the panels need it")
    add("--column", metavar="NAME", help="curves: loss, gradient_norm, ...; gradients: one of gradients by lag")
    add("--band", metavar="BAND", help="curves: interval (95 %% of the mean; default from 5 seeds on) or range")
    add("--log", action="store_const", const=True, help="curves: a logarithmic axis")
    add("--seed", type=int, metavar="N", help="gradients: this seed (default: each row's median by the metric)")
    add("--cost", metavar="COST", help="cost: parameters (default), seconds or state")
    add("--value", metavar="VALUE", help="cost: score (default) or metric")
    add("--json", action="store_true", help="what was drawn as JSON: rows, seeds, caption, files")
    return parser


def main(arguments: list[str]) -> int:
    """Write the figure, and say what it shows."""
    options = parser().parse_intermixed_args(arguments)
    from rnnae_bench.api.figures import KINDS, figure, require_sound, size

    own = {
        name: getattr(options, name)
        for name in sorted({name for names in KINDS.values() for name in names})
        if getattr(options, name) is not None
    }
    require_sound(options.kind, own)
    size(options.width)
    if options.height is not None:
        size(options.height, "height")
    files = _files(options.out)
    with remarks_told():
        drawn = figure(
            options.kind,
            options.source,
            ids=options.ids,
            task=options.task,
            model=options.model,
            width=options.width,
            height=options.height,
            **own,
        )
        for file in files:
            _write(file, drawn)
    if options.json:
        shown = {
            "kind": options.kind,
            "inches": drawn.get_size_inches().tolist(),
            "caption": drawn.caption,
            "rows": drawn.drawn,
            "files": [str(file) for file in files],
        }
        print(json.dumps(shown, indent=1))
        return 0
    for file in files:
        print(printable(f"figure {file}"))
    print(printable(f"caption: {drawn.caption}"))
    return 0


def _files(out: list[str]) -> list[Path]:
    """The files to write; refused before any work where they can't be."""
    if not out:
        raise UserError("figure needs --out FILE.svg, FILE.pdf or FILE.png")
    files = [Path(one) for one in out]
    for file in files:
        if file.suffix not in FORMATS:
            raise UserError(f"--out {file}: its name must end in {', '.join(FORMATS)}")
        if not file.parent.is_dir():
            raise UserError(f"--out {file}: there is no folder {file.parent}; make it first")
        require_writable_file(file, "the figure")
    return files


def _write(file: Path, drawn: "PaperFigure") -> None:
    from io import BytesIO

    content = BytesIO()
    drawn.savefig(content, format=file.suffix.removeprefix("."))
    try:
        write_atomically(file, content.getvalue())
    except OSError as error:
        raise UserError(f"cannot write the figure {file}: {error.strerror}") from error
