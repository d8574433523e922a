"""``rnnae-bench figure``: files for a paper from records on disk, and what is refused."""

import json
import re

import numpy as np
import pytest

import rnnae_bench
from rnnae_bench.cli import main
from rnnae_bench.errors import UserError
from rnnae_bench.records.history import Series
from rnnae_bench.records.store import Store

STEPS = np.arange(1, 9) * 100
FLOW = "gradient_flow/last_step/recurrence.l0/h"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_document):
    """Three seeds of three models on two tasks; one model has no gradients through time."""
    from rnnae_bench.records.document import record_from

    store = Store(tmp_path_factory.mktemp("figures") / "runs")
    rng = np.random.default_rng(0)
    for place, (task, model) in enumerate(
        (task, model) for task in ("copy", "sine") for model in ("gru", "lstm", "tcn")
    ):
        for seed in range(3):
            value = 0.3 + 0.1 * place + 0.02 * seed
            document = make_document(value, task=task, model=model, seed=seed, id=f"{place}{seed}".rjust(16, "a"))
            document["measures"]["parameters"] = 1000 * (place + 1)
            history = {
                "validation/recall_accuracy": Series(STEPS, value * (1.2 - 1 / np.arange(1, 9))),
                "loss": Series(STEPS, np.exp(rng.normal(size=8))),
            }
            if model != "tcn":
                flow = np.cumsum(rng.normal(-0.1, 0.01, (8, 40)), axis=1) + seed
                history[FLOW] = Series(STEPS, flow.astype(np.float32))
            store.write(record_from(document), history)
    return store.folder


@pytest.mark.filterwarnings("ignore:left out:UserWarning")
@pytest.mark.parametrize("kind", ["curves", "gradients", "cost"])
def test_files_are_vector_graphics_with_text_of_the_asked_width_and_the_same_every_time(kind, folder, tmp_path, capsys):
    names = [f"{kind}.{ending}" for ending in ("svg", "pdf", "png")]
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
        out = [argument for name in names for argument in ("--out", str(tmp_path / place / name))]
        assert main(["figure", kind, "--from", str(folder), "--task", "copy", *out]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"figure {tmp_path}")
    assert "caption: " in said.out
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    svg, pdf, png = (tmp_path / "first" / name for name in names)
    drawn = svg.read_text()
    assert re.search(r"<text[^>]*>gru</text>", drawn)
    assert float(re.search(r'width="([\d.]+)pt"', drawn)[1]) == pytest.approx(3.25 * 72)
    assert "<dc:date>" not in drawn
    assert b"/FontFile2" in pdf.read_bytes()
    assert b"CreationDate" not in pdf.read_bytes()
    assert png.read_bytes().startswith(b"\x89PNG")


def test_json_says_what_was_drawn(folder, tmp_path, capsys):
    out = tmp_path / "a.svg"
    arguments = ["figure", "curves", "--from", str(folder), "--task", "copy", "--model", "lstm", "--model", "gru"]
    assert main([*arguments, "--width", "text", "--json", "--out", str(out)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(one["setting"], one["row"], one["seeds"]) for one in said["rows"]] == [
        ("copy:standard", "lstm", [0, 1, 2]),
        ("copy:standard", "gru", [0, 1, 2]),
    ]
    assert said["files"] == [str(out)]
    assert said["inches"][0] == 6.75
    assert "3 seeds" in said["caption"]
    assert "smallest to largest" in said["caption"]


def test_records_are_chosen_by_id(folder, tmp_path, capsys):
    chosen = sorted(path.stem for path in folder.glob("*.json"))[:2]
    assert main(["figure", "curves", *chosen, "--from", str(folder), "--json", "--out", str(tmp_path / "a.png")]) == 0
    assert sorted(one for row in json.loads(capsys.readouterr().out)["rows"] for one in row["ids"]) == chosen


def test_curves_have_floor_and_threshold_and_the_look_of_their_row(folder):
    (axes,) = rnnae_bench.figure("curves", folder, task="copy").axes
    lines = {line.get_label(): line for line in axes.lines}
    assert {"gru", "lstm", "tcn"} <= set(lines)
    horizontal = {line.get_ydata()[0] for line in axes.lines if line.get_label().startswith("_")}
    assert horizontal == {0.125, 0.99}
    alone = rnnae_bench.figure("curves", folder, task="copy", model="tcn", column="loss").axes[0].lines[0]
    assert alone.get_color() == lines["tcn"].get_color()


def test_gradients_are_the_median_seeds_on_one_scale_with_the_lag_that_the_task_needs(folder):
    with pytest.warns(UserWarning, match=r"left out, .*: tcn on copy:standard"):
        figure = rnnae_bench.figure("gradients", folder, task="copy")
    assert [(one["row"], one["seeds"], one["needed_lag"]) for one in figure.drawn] == [
        ("lstm", [1], 30),
        ("gru", [1], 30),
    ]
    maps = [axes for axes in figure.axes if axes.images]
    assert len({axes.images[0].get_clim() for axes in maps}) == 1
    for axes in maps:
        assert [line.get_xdata() for line in axes.lines] == [[30, 30]]
    other = rnnae_bench.figure("gradients", folder, task="copy", model="gru", seed=2)
    assert other.drawn[0]["seeds"] == [2]


def test_cost_has_a_name_a_row(folder):
    figure = rnnae_bench.figure("cost", folder, task="copy", cost="seconds", value="metric")
    assert {text.get_text() for text in figure.axes[0].texts} == {"gru", "lstm", "tcn"}
    assert figure.axes[0].get_xscale() == "log"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pie", "--out", "a.svg"], "figure KIND is 'pie'; it must be one of curves, gradients, cost"),
        (["curves"], "figure needs --out"),
        (["curves", "--out", "a.jpg"], "must end in .svg, .pdf, .png"),
        (["curves", "--out", "nowhere/a.svg"], "there is no folder nowhere"),
        (["curves", "--out", "folder.svg"], "it is a folder"),
        (["curves", "--out", "a.svg", "--width", "page"], "width is 'page'; it must be column, text, a number"),
        (["curves", "--out", "a.svg", "--height", "nan"], "height is 'nan'"),
        (["curves", "--out", "a.svg", "--band", "sd"], "band is 'sd'"),
        (["cost", "--out", "a.svg", "--seed", "1"], "seed is an option of figure gradients"),
    ],
)
def test_what_is_wrong_is_refused_in_a_line_before_records_are_read(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.svg").mkdir()
    assert main(["figure", *arguments, "--from", "not-there"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.svg"]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("curves", {"task": "names"}, "has no record of names; task variants there: copy:standard, sine:standard"),
        ("curves", {"model": "rnn"}, "no record of rnn among those chosen; models there: gru, lstm, tcn"),
        ("curves", {"column": "los"}, "has a curve of los; columns of .*: validation/recall_accuracy, loss"),
        ("curves", {"ids": ["ffff"]}, "there is no record ffff"),
        ("curves", {"ids": ["aaaa"]}, "18 records' ids begin with aaaa"),
        ("gradients", {"model": "tcn"}, "has gradients through time; the probe gradient_flow measures them"),
        ("gradients", {"seed": 7}, "has seed 7; seeds: 0, 1, 2"),
    ],
)
def test_where_no_record_fits_it_says_what_there_is(kind, options, said, folder):
    with pytest.raises(UserError, match=said):
        rnnae_bench.figure(kind, folder, **options)
