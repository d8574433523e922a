"""Heatmaps of gradients through time: what is drawn is what was measured, on one scale everywhere."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.image import imread

from rnnae_bench.records.history import Series
from rnnae_bench.report.heatmaps import DECADES, PANELS, draw, gallery, new_figure, panels

NAME = "gradient_flow/last_step/recurrence.l0/h"


def sloping(*slopes: float, lags: int = 100, level: float = -1.0) -> Series:
    """One profile a slope, in decades a step."""
    profiles = level + np.outer(slopes, np.arange(lags))
    return Series(np.arange(1, len(slopes) + 1) ** 2, profiles.astype(np.float32))


def drawn(series):
    figure = new_figure(9.0, 5.0)
    draw(figure, panels(series))
    figure.canvas.draw()
    return figure.axes


def pixels(png: bytes, place: float) -> int:
    """How many pixels have the colour that stands for a place on the scale, from 0 to 1."""
    image = np.round(imread(BytesIO(png))[..., :3] * 255).astype(int)
    return int((image == np.array(colormaps["coolwarm"](place, bytes=True)[:3])).all(axis=-1).sum())


def test_the_heatmap_shows_each_profile_relative_to_its_lag_0_and_its_horizon():
    series = sloping(-0.51, -0.11, 0.05, lags=80)
    series.values[1, 70:] = np.nan
    heatmap, _, bar = drawn({NAME: series})
    (image,) = heatmap.images
    expected = series.values.astype(float) - series.values[:, :1]
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), expected)
    assert image.get_clim() == (-DECADES, DECADES)
    assert image.origin == "lower"
    assert image.get_extent() == [-0.5, 79.5, -0.5, 2.5]
    (horizon,) = heatmap.patches
    assert horizon.get_data().values.tolist() == [5.5, 27.5, 79.5]  # 0.51 * 6 > 3, 0.11 * 28 > 3
    assert [label.get_text() for label in heatmap.get_yticklabels()] == ["1", "4", "9"]
    assert "lag" in heatmap.get_xlabel()
    assert heatmap.get_ylabel() == "optimiser step"
    assert heatmap.get_title() == "recurrence.l0 h, loss of the last scored step alone"
    assert "relative to lag 0" in bar.get_xlabel()


def test_the_lines_show_the_first_the_middle_and_the_last_measured_profile_with_their_quantiles():
    middle = sloping(*np.linspace(-3, -0.1, 9), lags=90)
    middle.values[[0, -1]] = np.nan
    series = {NAME: middle} | {
        f"{NAME}/{name}": Series(middle.steps, middle.values + shift) for name, shift in (("q10", -0.5), ("q90", 0.25))
    }
    _, lines, _ = drawn(series)
    assert [line.get_label() for line in lines.lines] == ["step 4", "step 25", "step 64"]
    for line, band, place in zip(lines.lines, lines.collections, (1, 4, 7), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), middle.values[place])
        edges = band.get_paths()[0].vertices[:, 1]
        assert edges.min() == middle.values[place].min() - 0.5
        assert edges.max() == middle.values[place].max() + 0.25
    assert lines.yaxis.get_major_formatter()(-200) == "$10^{-200}$"
    assert "partial h_t" in lines.get_title()


def with_dead(series: Series, alive: list[float]) -> dict[str, Series]:
    """The same with these shares of the sequences alive at each lag, and the others dead."""
    shares = np.tile(np.array(alive, dtype=np.float32), (len(series.steps), 1))
    return {
        NAME: series,
        f"{NAME}/alive": Series(series.steps, shares),
        f"{NAME}/dead": Series(series.steps, 1 - shares),
    }


def test_where_most_are_dead_a_flat_profile_is_drawn_as_lost():
    series = with_dead(sloping(0.0, 0.0, lags=4), [1, 1, 0.03125, 0.03125])
    heatmap, _, *others = drawn(series)
    (image,) = heatmap.images
    assert not np.ma.getmaskarray(image.get_array()).any()
    np.testing.assert_array_equal(image.get_array()[:, :2], 0)
    assert (image.get_array()[:, 2:] < -DECADES).all()
    assert heatmap.patches[0].get_data().values.tolist() == [1.5, 1.5]
    (shares,) = [axes for axes in others if "alive" in axes.get_ylabel()]
    assert [line.get_ydata().tolist() for line in shares.lines] == [[1, 1, 0.03125, 0.03125]] * 2
    assert len(drawn(with_dead(sloping(0.0, lags=4), [1, 1, 1, 1]))) == 3


def test_at_most_four_states_are_drawn():
    series = {f"gradient_flow/last_step/recurrence.l{layer}/h": sloping(-0.1) for layer in range(6)}
    axes = drawn(series)
    assert len(axes) == 2 * PANELS + 1
    assert [one.get_title().split()[0] for one in axes[:8:2]] == [f"recurrence.l{layer}" for layer in range(4)]


@pytest.mark.parametrize("lags", [2, 784])
@pytest.mark.parametrize("count", [1, 100])
def test_any_size_can_be_drawn(lags, count):
    series = sloping(*np.linspace(-2, 0.02, count), lags=lags)
    series.values[0, 1 + lags // 2 :] = np.nan
    assert len(drawn({NAME: series})) == 3
    assert gallery({"one": series, "two": series}).startswith(b"\x89PNG")


def test_a_gallery_has_one_fixed_scale():
    flat, lost, grown = sloping(0.0, 0.0), sloping(-0.5, -0.5), sloping(0.5, 0.5)
    together = gallery({"flat": flat, "lost": lost, "grown": grown})
    alone = {name: gallery({name: one}) for name, one in (("flat", flat), ("lost", lost), ("grown", grown))}
    for name, place in (("flat", 0.5), ("lost", 0.0), ("grown", 1.0)):
        assert pixels(together, place) > 5000
        assert pixels(alone[name], place) > 5000
        assert sum(pixels(alone[other], place) > 5000 for other in alone) == 1
    assert gallery({"lost": sloping(-0.5, -0.5, level=-64.0)}) == alone["lost"]


def test_a_gallery_of_many_has_rows_and_one_of_none_is_refused():
    sizes = {count: imread(BytesIO(gallery({str(n): sloping(0.0) for n in range(count)}))).shape for count in (5, 6)}
    assert sizes[6][1] == sizes[5][1]
    assert sizes[6][0] > 1.5 * sizes[5][0]
    with pytest.raises(ValueError, match="at least one"):
        gallery({})


def test_without_profiles_there_is_nothing_to_draw():
    only_lag_0 = Series(np.array([1]), np.array([[1.0, np.nan]], dtype=np.float32))
    for series in ({}, {"loss": Series(np.array([1]), np.array([1.0]))}, {NAME: only_lag_0}):
        assert panels(series) == []
