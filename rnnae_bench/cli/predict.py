"""``rnnae-bench predict``: what the trained model of a record answers to an evaluation set."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnae_bench.cli.common import load_libraries
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.cli.reproduce import PLACES, find
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.records.files import require_writable_file
from rnnae_bench.records.legible import printable

if TYPE_CHECKING:
    from rnnae_bench.api.predicting import Predictions


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="rnnae-bench predict",
        description="Ask the trained model of a record for its answers to an evaluation set. Its weights must have "
        "been kept: rnnae-bench run ... --keep weights.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("record", metavar="ID", help="the record's id, or its first digits, or its file")
    add("--from", dest="source", metavar="FOLDER", help=f"where to look for it (default: {', then '.join(PLACES)})")
    add("--on", default="test", metavar="SET", help="the evaluation set (default: test)")
    add("--rows", type=int, metavar="N", help="so many rows, evenly spread (default: all)")
    add("--out", metavar="FILE.npz", help="write inputs, targets and predictions there")
    add("--picture", metavar="FILE.png", help="draw the first rows, and what there is of the whole set")
    add("--threads", type=int, default=1, metavar="N", help="CPU threads (default: 1)")
    add("--json", action="store_true", help="one JSON object, and nothing else, on standard output")
    return parser


def main(arguments: list[str]) -> int:
    """Predict, and show the first rows."""
    options = parser().parse_args(arguments)
    require_positive(threads=options.threads)
    if options.rows is not None:
        require_positive(rows=options.rows)
    for given, suffix in ((options.out, ".npz"), (options.picture, ".png")):
        if given is not None:
            if Path(given).suffix != suffix:
                raise UserError(f"{given} can't be written: name a file that ends in {suffix}")
            require_writable_file(Path(given), "the predictions")
    record, store = find(options.record, options.source)
    if record.weights is None:
        raise UserError(
            f"the weights of record {record.id} were not kept; run it again with --keep weights --overwrite"
        )
    load_libraries()
    import torch

    from rnnae_bench.api.results import Result

    torch.set_num_threads(options.threads)
    with plugins_aside():
        found = Result(record, store.path(record.id)).predict(options.on, options.rows)
    written = [found.save(options.out)] if options.out else []
    drawn = found.save_picture(options.picture) if options.picture else None
    written += [drawn] if drawn else []
    if options.json:
        print(json.dumps(_document(found, written), indent=1))
        return 0
    print(printable(repr(found)))
    for line in found.text().splitlines():
        print(printable(line))
    for path in written:
        print(printable(f"written {path}"))
    if options.picture and drawn is None:
        print("there is nothing to draw of these predictions")
    return 0


def _document(found: "Predictions", written: list[Path]) -> dict[str, Any]:
    """Sizes and files; the arrays themselves where they are few numbers."""
    small = {name: array.tolist() for name, array in found.items() if array.size <= 10_000}
    return {
        "record": found.record.id,
        "set": found.on,
        "rows": len(found["rows"]),
        "shapes": {name: list(array.shape) for name, array in found.items()},
        "arrays": {name: _finite(values) for name, values in small.items()},
        "files": [str(path) for path in written],
    }


def _finite(values: Any) -> Any:
    """The same, with None for what is no finite number: JSON has no other word for it."""
    if isinstance(values, list):
        return [_finite(one) for one in values]
    return None if isinstance(values, float) and not np.isfinite(values) else values
