"""A recurrent network each of whose units hears itself alone."""

from typing import Annotated

import torch
from torch import nn

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.models.initialization import start_summing
from rnnae_bench.models.recurrence_model import RecurrenceModel, ThroughTime
from rnnae_bench.recurrence import independent


class IndRNN(RecurrenceModel):
    """Independently recurrent network (Li, Li, Cook, Zhu & Gao 2018, arXiv:1803.04831).

    h_t = relu(W x_t + b_ih + u * h_(t-1) + b_hh) with |u| <= gain^(1/T), T the length of the task's sequences: over all
    of one, no unit grows more than `gain` times. Units meet in the next layer alone. With F numbers read into a state
    of H, a layer and direction has H (F + 3) weights. The state is h, H numbers a layer.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state of one layer and direction.
        layers: Recurrent layers, each reading the states of the one below.
        gain: What a unit may multiply its state with over a whole sequence, 1 or more.
        input_scale: W starts as normal with a standard deviation of this times sqrt(2 / (F T)), since a state is a sum
            over time.
        bidirectional: Add a second recurrence that reads from the end; refused on causal tasks.
        dropout: Share of the states zeroed between layers while training.
        through_time: How state and gradient pass through time while training.
        optimization: How to train.
    """

    bibtex = ("li2018",)

    model_axis = True

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 2,
        gain: float = 2.0,
        input_scale: float = 1.0,
        bidirectional: bool = False,
        dropout: float = 0.0,
        through_time: ThroughTime = ThroughTime(),  # noqa: B008 (frozen)
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(input_scale=input_scale)
        if not gain >= 1:
            raise UserError(f"gain is {gain}; a unit that is to keep its state must be let multiply it with 1 or more")
        steps = spec.sequence.length
        bound = gain ** (1 / steps)
        super().__init__(
            independent.IndRNN,
            spec,
            hidden_size,
            layers,
            bidirectional,
            dropout,
            None,
            through_time,
            optimization,
            bound=bound,
        )
        # Memories of all lengths; long ones alone in the last layer, where its last state is all that is read of it.
        long = f"l{layers - 1}" if spec.predicts == "last step" else None
        start_summing(self.recurrence, steps, input_scale)
        with torch.no_grad():
            for name, weight in self.recurrence.named_parameters():
                if name.startswith("weight_hh"):
                    nn.init.uniform_(weight, 1 / bound if long in name.split("_") else 0.0, bound)
                elif name.startswith("bias"):
                    nn.init.zeros_(weight)
