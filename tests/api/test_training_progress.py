"""The live line of a trial on terminals of several widths."""

import io
import re

import pytest
from rich.console import Console

from rnnae_bench.api.training_progress import TrainingProgress, layout_for
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

LABEL = "gru on copy:smoke, seed 0"


def last_line(width: int, folder) -> str:
    """What the line said last, of a real trial."""
    pair = Pair("copy:smoke", "gru")
    options = {"model.hidden_size": 4, "task.protocol.max_steps": 12, "task.protocol.evaluate_every": 6}
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    progress = TrainingProgress(console, LABEL, "recall_accuracy")
    Trial(pair, pair.resolve(options), 0).run(Store(folder), [], [progress])
    frames = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", out.getvalue()).replace("\n", "\r").split("\r")
    return [frame for frame in frames if frame.strip()][-1].rstrip()


@pytest.mark.parametrize(
    ("width", "names", "loss"), [(44, False, False), (66, True, False), (80, True, False), (140, True, True)]
)
def test_steps_time_and_metric_are_whole_whatever_the_width(width, names, loss, tmp_path):
    line = last_line(width, tmp_path)
    assert len(line) <= width
    assert re.search(r" 12/12 +\d+/s 0?0:00 ", f" {line} ")
    assert re.search(r"recall_accuracy 0\.\d+" if names else r" 0\.\d+$", line)
    assert ("  loss " in line) == loss
    assert (LABEL in line) == (width >= 80)


def test_a_long_budget_leaves_less_for_the_label():
    short, long = (layout_for(100, "x" * 70, "mse", steps).label for steps in (10, 1_000_000))
    assert len(short) == len(long) + 10
    assert long.endswith("x…")
