"""A recurrent network whose recurrent matrix stays orthogonal."""

from typing import Annotated

import torch
from torch import nn

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import require_choice, require_positive
from rnnae_bench.models.recurrence_model import RecurrenceModel, ThroughTime
from rnnae_bench.recurrence.orthogonal import OrthogonalRNN, Rotations


class ExpRNN(RecurrenceModel):
    """Orthogonal recurrence by the matrix exponential (Lezcano-Casado & Martinez-Rubio 2019, arXiv:1901.08428).

    h_t = modrelu(W x_t + B h_(t-1)), B = exp(A), A = -A^T trained without a constraint, modrelu(a) = sign(a) *
    relu(|a| + b) (Arjovsky, Shah & Bengio 2016). B neither shrinks nor stretches a state or a gradient; it is
    orthogonal to 1e-6. With F numbers read into a state of H, a layer and direction has H (F + 1) + H (H - 1) / 2
    weights. The state is h, H numbers.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state of one layer and direction.
        layers: Recurrent layers, each reading the states of the one below.
        start: The rotations that B starts as: by angles uniform in [-pi, pi] (Henaff, Szlam & LeCun 2016), or those of
            the Cayley form (Helfrich, Willmott & Ye 2018).
        orthogonal_rate: Learning rate of A, as a share of that of the other weights: A is this many times its weights,
            on whose scale Adam's steps don't depend.
        bidirectional: Add a second recurrence that reads from the end; refused on causal tasks.
        dropout: Share of the states zeroed between layers while training.
        through_time: How state and gradient pass through time while training; recurrent dropout is refused.
        optimization: How to train.
    """

    bibtex = ("lezcano2019", "arjovsky2016")

    model_axis = True

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        start: Rotations = "henaff",
        orthogonal_rate: float = 0.1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        through_time: ThroughTime = ThroughTime(),  # noqa: B008 (frozen)
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(orthogonal_rate=orthogonal_rate)
        require_choice(("henaff", "cayley"), start=start)
        super().__init__(
            OrthogonalRNN,
            spec,
            hidden_size,
            layers,
            bidirectional,
            dropout,
            None,
            through_time,
            optimization,
            rate=orthogonal_rate,
            start=start,
        )
        with torch.no_grad():
            for name, weight in self.recurrence.named_parameters():
                if name.startswith("weight_ih"):
                    nn.init.kaiming_normal_(weight)
                elif name.startswith("bias"):
                    nn.init.uniform_(weight, -0.01, 0.01)
