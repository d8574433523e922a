"""Curves of logarithms, drawn with braille dots in the terminal."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Num


def terminal_curve(
    places: Num[np.ndarray, " points"],
    exponents: Float[np.ndarray, " points"],
    stop: float,
    labels: tuple[str, str],
    tick: Callable[[float], str],
    width: int,
    height: int,
) -> str:
    """A curve over whole decades.

    Args:
        places: Where, from 0.
        exponents: log10 of what is drawn there, finite.
        stop: Where the horizontal axis ends.
        labels: Of the horizontal and the vertical axis.
        tick: Writes an exponent at the vertical axis.
        width: Characters of the curve.
        height: Its lines.
    """
    import plotille

    figure = plotille.Figure()
    figure.width, figure.height = width, height
    figure.with_colors = False
    figure.x_label, figure.y_label = labels
    low, high = float(np.floor(exponents.min())), float(np.ceil(exponents.max()))
    figure.set_y_limits(min_=low, max_=high if high > low else low + 1)
    figure.set_x_limits(min_=0, max_=stop)
    figure.register_label_formatter(float, lambda value, chars, delta, left: f"{value:>{chars}.0f}")
    figure.y_ticks_fkt = lambda low, _: tick(low)
    figure.plot(places.tolist(), exponents.tolist())
    return str(figure.show())
