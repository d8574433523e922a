"""The live line of a trial on terminals of several widths."""

import io
import re

import pytest
from rich.console import Console

from rnnae_bench.api.training_progress import TrainingProgress, bar_of, layout_for
from rnnae_bench.records.store import Store
from rnnae_bench.report.tables import number
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
    assert (LABEL in line) == (width >= 140)
    assert ("gru" in line) == (width > 44)
    assert "━" in line
    assert "…" not in line


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("label", ["gru on copy:standard, seed 0", "vector_quantized on reconstruct:standard, seed 12"])
@pytest.mark.parametrize(("steps", "metric", "value"), [(10**5, "variance_explained", -1.234e-5), (5000, "mse", 0.5)])
def test_the_line_is_whole_at_its_longest(width, label, steps, metric, value):
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    layout = layout_for(width, label, metric, steps)
    bar = bar_of(layout, console)
    state = f"{layout.metric}{number(value)}"
    bar.add_task(layout.label, total=steps, completed=steps - 1, speed="12345/s", state=state)
    with console.capture() as capture:
        console.print(bar.get_renderable())
    (line,) = capture.get().splitlines()
    assert len(line) <= width
    assert "…" not in line
    assert f"{steps - 1}/{steps} 12345/s" in line
    assert line.rstrip().endswith(number(value))
    if width == 80 and metric == "mse":
        assert "━" in line
        assert label.split()[0] in line


def test_a_label_is_shortened_by_its_parts_and_never_cut():
    widths = range(20, 141)
    labels = [layout_for(width, LABEL, "mse", 5000).label for width in widths]
    assert list(dict.fromkeys(labels)) == ["", "gru", "gru, seed 0", LABEL]
    assert layout_for(20, LABEL, "mse", 5000) == ("", 0, False, "")
    assert layout_for(100, "x" * 90, "mse", 10).label == ""
