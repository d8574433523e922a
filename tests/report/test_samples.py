"""What is drawn of samples: each kind by the arrays that it needs, and every number as it was measured."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from rnnae_bench.report.samples import codes, confusion, images, series, symbols, unusual
from rnnae_bench.report.samples.kinds import softmax
from rnnae_bench.report.samples.picture import figure, picture, text

RNG = np.random.default_rng(0)
ROWS = {"rows": np.arange(3)}


def logits(classes, count):
    """Of the likeliest classes, as an array of logits with one axis more."""
    return 5.0 * np.eye(count, dtype=np.float32)[np.asarray(classes)]


COPY = {
    **ROWS,
    "inputs": np.array([[1, 2, 0, 3], [2, 1, 0, 3], [1, 1, 0, 3]]),
    "targets": np.array([[0, 0, 1, 2], [0, 0, 2, 1], [0, 0, 1, 1]]),
    "prediction": logits([[0, 0, 1, 2], [0, 0, 1, 1], [1, 0, 1, 1]], 3),
    "mask": np.array([[False, False, True, True]] * 3),
    "names/inputs": np.array(list(".ab#")),
    "names/outputs": np.array(list(".ab")),
}
NAMES = {
    **ROWS,
    "inputs": np.array([[0, 1, 0], [1, 1, 1], [0, 0, 0]]),
    "lengths": np.array([2, 3, 1]),
    "targets": np.array([0, 1, 0]),
    "prediction": logits([0, 0, 1], 2),
    "names/inputs": np.array(list("xy")),
    "names/outputs": np.array(["Irish", "Dutch"]),
    "test/confusion": np.array([[5, 1], [2, 8]]),
}
FORECAST = {
    **ROWS,
    "inputs": RNG.random((3, 6, 1)).astype(np.float32),
    "targets": RNG.random((3, 4)).astype(np.float32),
    "prediction": RNG.random((3, 4)).astype(np.float32),
}
DIGITS = {
    **ROWS,
    "inputs": RNG.random((3, 1, 4, 4)).astype(np.float32),
    "targets": RNG.random((3, 1, 4, 4)).astype(np.float32),
    "prediction": RNG.random((3, 1, 4, 4)).astype(np.float32),
    "test/codes": RNG.normal(size=(40, 5)).astype(np.float32),
    "test/code_labels": np.arange(40) % 3,
}
ODD = {
    **ROWS,
    "inputs": FORECAST["inputs"],
    "targets": np.array([0, 1, 0]),
    "prediction": np.array([0.1, 0.9, 0.2], dtype=np.float32),
    "output": FORECAST["inputs"] + 0.1,
    "test/scores": np.array([0.1, 0.2, 0.3, 4.0, 5.0]),
    "test/kinds": np.array([0, 0, 0, 1, 2]),
    "test/threshold": np.array([0.25]),
}


def drawn_by(kind, samples):
    from rnnae_bench.report.heatmaps import new_figure

    whole = new_figure(7.0, 3.0)
    kind.draw(whole, samples)
    whole.canvas.draw()
    return whole


@pytest.mark.parametrize("samples", [COPY, NAMES, FORECAST, DIGITS, ODD])
def test_every_kind_is_drawn_whole(samples):
    assert picture(samples, "a title").startswith(b"\x89PNG")


def test_nothing_to_draw_is_no_picture():
    bare = {**ROWS, "inputs": np.zeros((3, 2)), "targets": np.zeros((3, 2)), "prediction": np.zeros((3, 2))}
    assert figure(bare, "") is None
    assert picture(bare, "") is None
    assert text(bare) == ""


def test_text_marks_what_is_wrong_where_it_is_scored():
    assert text(COPY).splitlines() == [
        "input   ab.#",
        "target  ..ab",
        "model   ..ab",
        "input   ba.#",
        "target  ..ba",
        "model   ..aa",
        "          ^",
        "input   aa.#",
        "target  ..aa",
        "model   a.aa",
    ]


def test_classes_are_named_with_their_chance():
    chance = softmax(NAMES["prediction"])[0].max()
    lines = text(NAMES).splitlines()
    assert lines[:3] == ["input   xy", "target  Irish", f"model   Irish ({chance:.0%})"]
    assert lines[3] == "input   yyy"
    assert lines[6].strip() == "^" * len(f"Irish ({chance:.0%})")


def test_a_continuation_stands_after_the_end_of_what_was_read():
    going_on = np.array([[1, 2], [-1, -1], [2, 2]])
    assert symbols.continued({**COPY, "continuation": going_on}) == ["ab.#|ab", "aa.#|bb"]


def test_long_rows_are_cut_and_padding_is_left_out():
    wide = {**COPY, "inputs": np.zeros((3, 500), dtype=int), "targets": np.zeros((3, 500), dtype=int)}
    wide["prediction"], wide["mask"] = logits(wide["targets"], 3), np.ones((3, 500), dtype=bool)
    first, *_ = symbols.lines_of(wide)
    assert all(len(line.text) == symbols.WIDEST for line in first)
    assert first[0].text.endswith("…")


def test_images_of_input_output_and_target():
    assert [*images.rows_of(DIGITS)] == ["input", "output", "target"]
    same = {**DIGITS, "targets": DIGITS["inputs"]}
    assert [*images.rows_of(same)] == ["input", "output"]
    shown = [axes.images[0].get_array() for axes in drawn_by(images, DIGITS).axes if axes.images]
    np.testing.assert_allclose(np.asarray(shown[3]), DIGITS["prediction"][0, 0])


def test_a_forecast_begins_where_the_input_ends():
    first = drawn_by(series, FORECAST).axes[0]
    read, truth, said = first.lines
    assert read.get_xdata().tolist() == [*range(6)]
    assert truth.get_xdata().tolist() == said.get_xdata().tolist() == [*range(6, 10)]
    np.testing.assert_allclose(said.get_ydata().ravel(), FORECAST["prediction"][0])


def test_the_confusion_counts_are_shown():
    axes = drawn_by(confusion, NAMES).axes[0]
    assert [one.get_text() for one in axes.texts] == ["5", "1", "2", "8"]
    assert "81.2% right" in axes.get_title()


def test_the_plane_is_scikit_learns():
    found = codes.principal_plane(DIGITS["test/codes"])
    expected = PCA(2).fit_transform(DIGITS["test/codes"])
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)


def test_few_or_flat_codes_are_not_drawn():
    assert codes.height_of({"test/codes": np.zeros((40, 1))}) == 0
    assert codes.height_of({"test/codes": np.zeros((9, 3))}) == 0
    assert codes.height_of({"test/codes": np.full((40, 3), np.nan)}) == 0


def test_the_threshold_says_what_it_catches():
    (axes,) = drawn_by(unusual, ODD).axes
    labels = [one.get_text() for one in axes.get_legend().get_texts()]
    assert any("100% of the unusual above, 33% of the normal" in one for one in labels)
