"""The table of truth: its quick part holds, and what it says of a row that does not."""

import json
import math

import pytest

from rnnae_bench.api.truth import exact
from rnnae_bench.api.truth.row import Finding, Range, Row, Training, at_most
from rnnae_bench.api.truth.rows import ROWS
from rnnae_bench.cli import main
from rnnae_bench.cli.truth import QUICK

SECONDS = 2.0
"""Of the rows that run here; those of ``--quick`` take a minute and a half together."""

SMALL = "copy:smoke[protocol.max_steps=4,protocol.evaluate_every=4,evaluation_size=20]"


@pytest.fixture
def rows(monkeypatch):
    """Put rows in the place of the suite's."""

    def rows(*given):
        monkeypatch.setattr("rnnae_bench.cli.truth.ROWS", {row.name: row for row in given})

    return rows


def row(name="here", measure="exact:there_is_none", seconds=1.0, within=at_most(0.5), **options):  # noqa: B008 (frozen)
    return Row(name, "a claim", "a source", "0.5", measure, seconds, within, **options)


def test_what_takes_least_agrees(capsys):
    names = [name for name, row in ROWS.items() if row.seconds <= SECONDS]
    assert len(names) > 20
    assert main(["truth", *names, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["row"] for one in found] == names
    assert {one["verdict"] for one in found} == {"agrees"}


def test_every_row_says_what_and_from_which_source():
    for name, one in ROWS.items():
        assert one.name == name
        assert one.claim
        assert one.source
        assert not (math.isinf(one.within.low) and math.isinf(one.within.high))
        if isinstance(one.measure, Training):
            assert one.seconds > QUICK
            assert one.needed is None or one.needed <= one.measure.seeds
    assert sum(one.seconds for one in ROWS.values()) < 3600


def test_the_published_figure_lies_in_its_tolerance():
    for one in ROWS.values():
        assert one.agrees([float(one.published)] * (one.needed or 1)), one.name


def test_a_missed_row_stays_and_a_failed_one_says_why(rows, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(exact, "too_much", lambda name: [0.75], raising=False)
    rows(row("missed", "exact:too_much", tried="twice"), row("broken"))
    page = tmp_path / "truth.html"
    assert main(["truth", "--page", str(page)]) == 1
    told = capsys.readouterr().out
    assert "0.75" in told
    assert "tried: twice" in told
    assert "AttributeError" in told
    assert "0 of 2 rows agree; missed missed, broken failed" in told
    assert '<td class="missed">missed</td>' in page.read_text(encoding="utf-8")


def test_a_row_that_is_trained_leaves_records_and_is_trained_once(rows, capsys, tmp_path):
    training = Training(SMALL, "gru[hidden_size=4]", "recall_accuracy", seeds=2)
    rows(row("trained", training, 60.0, Range(0.0, 1.0)))
    for _ in range(2):
        assert main(["truth", "--json", "--out", str(tmp_path)]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert len(found["values"]) == 2
        assert len([*tmp_path.glob("*.json")]) == 2
    assert main(["truth", "--quick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_enough_seeds_must_agree():
    assert Finding(row(needed=2), (0.1, 0.2, 0.9), 1.0).verdict == "agrees"
    assert Finding(row(needed=2), (0.1, math.nan, 0.9), 1.0).verdict == "missed"
    assert Finding(row(), (0.1, 0.9), 1.0).verdict == "missed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pca8"], "there is no row 'pca8' in the table of truth; did you mean pca-8?"),
        (["--page", "truth.pdf"], "name a file that ends in .html"),
        (["--page", "/nowhere/truth.html"], "there is no folder /nowhere"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert main(["truth", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
