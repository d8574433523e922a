"""Which kinds of pictures a trial's samples are enough for: told by their arrays alone."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

Samples = Mapping[str, np.ndarray]
"""Arrays by name, as `rnnae_bench.records.samples` describes them."""

_LETTERS = 1


def names_of(samples: Samples, side: str, count: int) -> list[str]:
    """What symbols (``inputs``) or classes (``outputs``) are called: by their number where they have no name."""
    names = samples.get(f"names/{side}")
    return [str(one) for one in names] if names is not None else [str(one) for one in range(count)]


def are_letters(names: Sequence[str]) -> bool:
    """Whether symbols of these names are written side by side."""
    return all(len(name) <= _LETTERS for name in names)


def spelled(names: Sequence[str], tokens: Int[np.ndarray, " time"]) -> list[str]:
    """The name of each token; what has none is a question mark."""
    return [names[one] if 0 <= one < len(names) else "?" for one in tokens.tolist()]


def steps(samples: Samples, row: int, field: str = "lengths") -> int:
    """Steps of a row without padding."""
    lengths = samples.get(field)
    array = samples["targets"] if field == "target_lengths" else samples["inputs"]
    return int(lengths[row]) if lengths is not None else array.shape[1]


def is_image(array: np.ndarray) -> bool:
    """``[row channel height width]``."""
    return array.ndim == 4


def is_symbols(array: np.ndarray) -> bool:
    """``[row time]`` of whole numbers."""
    return array.ndim == 2 and np.issubdtype(array.dtype, np.integer)


def is_series(array: np.ndarray) -> bool:
    """``[row time features]`` of real numbers."""
    return array.ndim == 3 and np.issubdtype(array.dtype, np.floating)


def classes(
    samples: Samples,
) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"], Float[np.ndarray, " row"]] | None:
    """Of one class a row: the true one, the likeliest, and how likely that was held; None of other answers."""
    targets, prediction = samples["targets"], samples["prediction"]
    if not (targets.ndim == 1 and np.issubdtype(targets.dtype, np.integer) and prediction.ndim == 2):
        return None
    chances = softmax(prediction)
    return targets, chances.argmax(1), chances.max(1)


def softmax(logits: Float[np.ndarray, "*rows class"]) -> Float[np.ndarray, "*rows class"]:
    """Chances of logits, over the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)
