"""What ``run`` shows of a trial when it is over."""

import io

import numpy as np
import pytest
from msgspec import structs
from rich.console import Console

from rnnae_bench.cli.run import _report
from rnnae_bench.records.history import Series
from rnnae_bench.report.terminal_heatmap import terminal_heatmap
from rnnae_bench.trial.outcome import Outcome
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

STEPS = np.arange(1, 30)
NORMS = {"gradient_norm": Series(STEPS, np.geomspace(10, 0.1, 29))}
FLOW = {
    "gradient_flow/last_step/recurrence.l0/h": Series(
        np.array([1, 29]), np.outer([-0.5, -0.1], np.arange(40)).astype(np.float32)
    )
}


@pytest.fixture(scope="module")
def trial() -> Trial:
    pair = Pair("copy:smoke", "gru")
    return Trial(pair, pair.resolve({}), 0, None)


def said(trial, record, series, folder):
    out = io.StringIO()
    _report(trial, Outcome(record, series, folder / "0123456789abcdef.json"), Console(file=out, width=100))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_heatmap_comes_after_the_gradient_norm(trial, make_record, tmp_path):
    record = structs.replace(make_record(), needed_lag=30)
    lines = said(trial, record, {**NORMS, **FLOW}, tmp_path)
    heatmap = terminal_heatmap(FLOW, record.needed_lag).splitlines()
    start = lines.index(heatmap[0])
    assert lines[start : start + len(heatmap)] == heatmap
    assert [line.strip() for line in heatmap if "^" in line] == ["needed 30 ^"]
    assert lines[0].startswith("gradient norm over training")
    assert start > 5
    assert lines[start + len(heatmap)].startswith("The gradient with respect to the state never reached lag 30")
    assert lines[start + len(heatmap) + 1].startswith("record")
    assert (tmp_path / "0123456789abcdef.png").read_bytes().startswith(b"\x89PNG")


def test_without_profiles_nothing_is_said_of_lags(trial, make_record, tmp_path):
    assert "lag" not in "\n".join(said(trial, make_record(), NORMS, tmp_path))
