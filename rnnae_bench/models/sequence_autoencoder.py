"""The sequence autoencoder: a recurrence reads a sequence into a code, another writes it from there.

Sources: Srivastava, Mansimov & Salakhutdinov (2015), Unsupervised learning of video representations using LSTMs, ICML;
Dai & Le (2015), Semi-supervised sequence learning, NeurIPS.
"""

from typing import Annotated, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.sequence_autoencoder import SequenceAutoencoder
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_choice, require_positive
from rnnae_bench.models.flat_autoencoder import code_size_of
from rnnae_bench.models.initialization import initialize
from rnnae_bench.recurrence import gru, lstm, vanilla

_CELLS = {"rnn": vanilla.RNN, "lstm": lstm.LSTM, "gru": gru.GRU}


class RecurrentAutoencoder(SequenceAutoencoder):
    """Sequence autoencoder (Srivastava, Mansimov & Salakhutdinov 2015): one recurrence reads, another writes.

    h_t = cell(x_t, h_(t-1)), z = W h_T + b; s_0 = tanh(V z + c), s_u = cell'(z, s_(u-1)), and step u is read off s_u by
    an affine map. The writer is fed with the code at every step and never with what it wrote. Images are read and
    written by rows. Beside the two recurrences, of N units and reading F inputs and k numbers, and the head, it has k
    (N + 1) + N (k + 1) weights with one state each (an LSTM's cell starts at 0); the state is the code.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 16 where it sets no limit.
        hidden_size: Units of either recurrence.
        cell: The recurrence of both.
        backwards: Write the last step first, as the source does; for sequences that are all as long.
        optimization: How to train.
    """

    bibtex = ("srivastava2015",)

    def __init__(
        self,
        spec: TaskSpec,
        code_size: Annotated[int | None, Range(2, 64, log=True)] = None,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        cell: Literal["rnn", "lstm", "gru"] = "gru",
        backwards: bool = False,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size)
        require_choice(("rnn", "lstm", "gru"), cell=cell)
        if backwards and spec.variable_length:
            raise UserError("backwards is true, and the task's sequences end at different steps; leave it out")
        size = code_size_of(spec, code_size, otherwise=16)
        super().__init__(spec, hidden_size, optimization)
        self.code_size, self.backwards = size, backwards
        self.reader = _CELLS[cell](self.embedding.features, hidden_size)
        self.writer = _CELLS[cell](size, hidden_size)
        for recurrence in (self.reader, self.writer):
            initialize(recurrence, "orthogonal")
        self.squeeze, self.start = nn.Linear(hidden_size, size), nn.Linear(size, hidden_size)

    @property
    def state_size(self) -> int:
        """Numbers in the code."""
        return self.code_size

    def encode(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch code"]:
        """The code of each sequence, of the state after its last step."""
        return self.squeeze(self.reader(inputs, lengths)[1][0].squeeze(-3))

    def decode(  # type: ignore[override]
        self, code: Float[Tensor, "batch code"], steps: int
    ) -> Float[Tensor, "batch time hidden"]:
        """The writer's state at each step."""
        start = self.start(code).tanh().unsqueeze(-3)
        state = (start, *(start.new_zeros(start.shape) for _ in range(self.writer.states - 1)))
        written = self.writer(code.unsqueeze(-2).expand(*code.shape[:-1], steps, -1), None, state)[0]
        return written.flip(-2) if self.backwards else written
