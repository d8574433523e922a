"""The clockwork RNN: modules of a recurrent network that run at different paces.

Source: Koutnik, Greff, Gomez & Schmidhuber (2014), A Clockwork RNN, ICML.
"""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.stepping import brought_to
from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.models.driven import DrivenModel
from rnnae_bench.models.residual import full

_LONGEST = 1 << 31
"""The longest period that a step can be told by."""


class Clockwork(DrivenModel):
    """Clockwork RNN (Koutnik, Greff, Gomez & Schmidhuber 2014): modules 0, 1, 2, ... with periods 1, 2, 4, ...

    Where its period 2^g divides the step t, counted from 0, a module g reads itself and the slower ones, and else it
    holds its state:

        h_t^g = tanh(sum over k >= g of W_gk h_(t-1)^k + V_g x_t + b_g),    h_t^g = h_(t-1)^g.

    The head reads all modules. With F numbers read into a state of H in M modules of H_g, that has
    H (F + 1) + sum over g of H_g (H_g + ... + H_(M-1)) weights, H (F + 1) + H^2 (1 + 1/M) / 2 where all are as large.
    The state is h, H numbers, and the step, which counts as none.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state of all modules, which share it evenly; the fastest have one more each where
            that does not come out even.
        modules: How many, of which the slowest has a period of 2^(modules - 1) steps.
        optimization: How to train.
    """

    bibtex = ("koutnik2014",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        modules: int = 7,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size, modules=modules)
        if modules > hidden_size:
            raise UserError(f"modules is {modules} with a hidden_size of {hidden_size}; a module has at least one unit")
        if 1 << (modules - 1) > _LONGEST:
            raise UserError(f"modules is {modules}, and the slowest would never run again; set 32 or less")
        super().__init__(spec, hidden_size, optimization)
        self.into = nn.Linear(self.embedding.features, hidden_size)
        sizes = [len(part) for part in torch.arange(hidden_size).tensor_split(modules)]
        self._ends = [sum(sizes[: place + 1]) for place in range(modules)]
        self.blocks = nn.ParameterList(
            torch.empty(size, hidden_size - end + size) for size, end in zip(sizes, self._ends, strict=True)
        )
        """W_gg, W_g(g+1), ..., W_g(M-1) of each module g, side by side."""
        self._periods = [1 << place for place, size in enumerate(sizes) for _ in range(size)]
        for weight in (*self.into.parameters(), *self.blocks):
            nn.init.normal_(weight, std=0.1)  # section 4 of the paper

    def initial_state(self, batch_size: int) -> dict[str, Tensor]:
        """Zero, at step 0."""
        hidden = self.into.out_features
        return {"h": torch.zeros(batch_size, hidden), "t": torch.zeros(batch_size, dtype=torch.long)}

    def drive(self, inputs: Float[Tensor, "*axes features"]) -> Float[Tensor, "*axes drive"]:
        """As `DrivenModel.drive`."""
        return full(self.into(inputs))

    def advance(
        self, drive: Float[Tensor, "batch drive"], state: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch hidden"], dict[str, Tensor]]:
        """As `DrivenModel.advance`."""
        h, t = state["h"], state["t"]
        runs = t.unsqueeze(-1) % torch.tensor(self._periods, device=t.device) == 0
        h = torch.where(runs, torch.tanh(drive + linear(h, self._recurrent())), h)
        return h, {"h": h, "t": t + 1}

    def resume(
        self, inputs: Float[Tensor, "batch time features"], state: dict[str, Tensor] | None = None
    ) -> tuple[Float[Tensor, "batch time hidden"], dict[str, Tensor]]:
        """As `SequenceModel.resume`: from the beginning, where it is known which modules run, those alone."""
        if state is not None:
            return super().resume(inputs, state)
        drive, recurrent, states = self.drive(inputs), self._recurrent(), []
        rows = [recurrent[:end] for end in self._ends]
        state = brought_to(self.initial_state(len(inputs)), drive)
        h = state["h"]
        for t, driven in enumerate(drive.unbind(1)):
            # The largest power of two that divides t, and all smaller ones.
            last = min(((t & -t) or _LONGEST).bit_length(), len(rows)) - 1
            end = self._ends[last]
            new = torch.tanh(driven[..., :end] + linear(h, rows[last]))
            h = torch.cat([new, h[..., end:]], dim=-1)
            states.append(h)
            self._show({"h": h})
        return torch.stack(states, dim=1), {"h": h, "t": state["t"] + len(states)}

    def _recurrent(self) -> Float[Tensor, "hidden hidden"]:
        """W, block upper triangular."""
        hidden = self.into.out_features
        return torch.cat([nn.functional.pad(block, (hidden - block.shape[-1], 0)) for block in self.blocks])
