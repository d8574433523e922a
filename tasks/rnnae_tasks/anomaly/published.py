"""Data of others: one class of handwritten digits as the normal one, and the breast-cancer rows of PyOD's table."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from rnnae_bench.errors import UserError
from rnnae_tasks.anomaly.rows import Data, Rows, joined, mixed_in, of_kind
from rnnae_tasks.datasets.digits import packed_digits, packed_labels

OUTLIERS = 21
"""Malignant rows that are kept."""
TESTED, VALIDATED, FOUND = 143, 36, 8
"""Benign rows of the test set, 40%, and of the validation set, 10%; malignant rows of each of the two."""
LEFT, HIDDEN = 357 - TESTED - VALIDATED, OUTLIERS - FOUND
"""Benign and malignant rows to train on, the latter where contamination asks for them."""
FEATURES = 30


def one_class_digits(normal: int, contamination: float, generator: Callable[[str], torch.Generator]) -> Data:
    """The 350 training images of one digit, and all digits in the 500 and the 1,000 images of the two other sets.

    Args:
        normal: The digit that is normal.
        contamination: Share of images of the other nine among the training rows.
        generator: Gives the random numbers of each set, by its name.
    """
    train, *others = (
        Rows(images / 255, (labels != normal).long())
        for images, labels in zip(packed_digits(), packed_labels(), strict=True)
    )
    is_bad = train.kinds != 0
    bad = torch.randperm(int(is_bad.sum()), generator=generator("train"))[
        : mixed_in(contamination, int((~is_bad).sum()))
    ]
    train = joined(of_kind(train.values[~is_bad], 0), of_kind(train.values[is_bad][bad], 1))
    return Data(train, *others)


def require_malignant(contamination: float) -> None:
    """Refuse to mix in more malignant rows than are there for it."""
    wanted = mixed_in(contamination, LEFT)
    if wanted > HIDDEN:
        raise UserError(
            f"contamination is {contamination}, which takes {wanted} malignant rows among {LEFT} benign ones, and "
            f"{HIDDEN} are there; {HIDDEN / (HIDDEN + LEFT):.3f} takes all of them"
        )


def breast_cancer(contamination: float, generator: Callable[[str], torch.Generator]) -> Data:
    """Rows of the Wisconsin diagnostic data, the benign ones normal, and few malignant ones as anomalies.

    The outlier-detection benchmarks keep all 357 benign rows and 21 of the 212 malignant. Here these are the first 21
    in a fixed random order. 40% of the benign and of the malignant rows are the test set (143 and 8), 10% of the benign
    the validation set (36), with the next 8 malignant rows, which the benchmarks leave out. What is left trains: 178
    benign rows, and of the 13 malignant as many as contamination asks for. Features are standardised by these rows.

    Args:
        contamination: Share of malignant rows among the training rows.
        generator: Gives the random numbers of each set, by its name.
    """
    from sklearn.datasets import load_breast_cancer

    content, numbers = load_breast_cancer(), generator("order")
    good, bad = (
        torch.from_numpy(part)[torch.randperm(len(part), generator=numbers)]
        for part in (content.data[content.target == 1], content.data[content.target == 0])
    )
    test = joined(of_kind(good[:TESTED], 0), of_kind(bad[:FOUND], 1))
    validation = joined(of_kind(good[TESTED : TESTED + VALIDATED], 0), of_kind(bad[OUTLIERS : OUTLIERS + FOUND], 1))
    left, hidden = good[TESTED + VALIDATED :], bad[FOUND:OUTLIERS]
    train = joined(of_kind(left, 0), of_kind(hidden[: mixed_in(contamination, len(left))], 1))
    mean, deviation = train.values.mean(0), train.values.std(0, correction=0)
    return Data(*(part._replace(values=_standard(part.values, mean, deviation)) for part in (train, validation, test)))


def _standard(
    values: Float[Tensor, "row features"], mean: Float[Tensor, " features"], deviation: Float[Tensor, " features"]
) -> Float[Tensor, "row features"]:
    return ((values - mean) / deviation).float()
