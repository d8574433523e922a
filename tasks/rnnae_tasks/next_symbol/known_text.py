"""What follows, for one who knows a repeated text by heart but not where in it the reading began."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot


def after_symbols(
    following: Int[Tensor, " place"], symbols: Int[Tensor, " place"], classes: int
) -> Float[Tensor, "symbol class"]:
    """How likely each symbol is after each, by how often it follows it in the text.

    Args:
        following: The symbol after each place of the text.
        symbols: The symbol at each place.
        classes: How many symbols there are.
    """
    counts = torch.zeros(classes, classes, dtype=torch.float64)
    counts.index_put_((symbols, following), torch.ones(len(symbols), dtype=torch.float64), accumulate=True)
    return counts / counts.sum(dim=1, keepdim=True)


def after_prefixes(
    inputs: Int[Tensor, "start time"], targets: Int[Tensor, "start time"], classes: int
) -> Float[Tensor, "start time class"]:
    """How likely each symbol is after all that was read: the posterior of one to whom all places of a start were alike.

    Rows whose symbols have been the same so far form a group; a symbol is as likely as the share of the group that goes
    on with it. No predictor that reads the row from its first symbol on has a smaller expected cross-entropy.

    Args:
        inputs: The row of each place, once.
        targets: The symbol after each of these.
        classes: How many symbols there are.
    """
    group, steps = torch.zeros(len(inputs), dtype=torch.long), []
    for symbol, target in zip(inputs.unbind(1), targets.unbind(1), strict=True):
        group = (group * classes + symbol).unique(return_inverse=True)[1]
        counts = torch.zeros(int(group.max()) + 1, classes, dtype=torch.float64)
        counts.index_add_(0, group, one_hot(target, classes).double())
        steps.append((counts / counts.sum(dim=1, keepdim=True))[group])
    return torch.stack(steps, dim=1)
