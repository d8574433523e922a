"""An encoder-decoder of two recurrences: one reads a sequence, the other writes the answer.

    h_t = cell(x_t, h_(t-1)),    s_0 = h_T,    s_u = cell'(y_(u-1), s_(u-1)),    answer u: W s_u + b.

y_(u-1) is the answer before: in training the target (teacher forcing), at evaluation the model's own. All that the
decoder knows of the input is h_T.

Sources: Sutskever, Vinyals & Le (2014), Sequence to sequence learning with neural networks, NeurIPS; Cho et al. (2014),
Learning phrase representations using RNN encoder-decoder for statistical machine translation, EMNLP.
"""

from typing import Annotated, Literal

from jaxtyping import Float, Int
from torch import Tensor

from rnnae_bench.contracts.encoder_decoder import EncoderDecoder
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import require_choice, require_positive
from rnnae_bench.models.initialization import Initialization, initialize
from rnnae_bench.recurrence import gru, lstm, vanilla
from rnnae_bench.recurrence.stack import States

_CELLS = {"rnn": vanilla.RNN, "lstm": lstm.LSTM, "gru": gru.GRU}


class Seq2Seq(EncoderDecoder):
    """Encoder-decoder (Sutskever et al. 2014, Cho et al. 2014): a recurrence reads, another writes from its last state.

    h_t = cell(x_t, h_(t-1)), s_0 = h_T, s_u = cell'(y_(u-1), s_(u-1)), and the answer u is W s_u + b, where y_(u-1) is
    the answer before: the target in training, the model's own at evaluation.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state of one layer, of reader and writer alike.
        layers: Recurrent layers of either.
        cell: The recurrence of both.
        initialization: PyTorch's uniform, orthogonal, or identity recurrent weights.
        optimization: How to train.
    """

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        cell: Literal["rnn", "lstm", "gru"] = "gru",
        initialization: Initialization = "orthogonal",
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size, layers=layers)
        require_choice(("rnn", "lstm", "gru"), cell=cell)
        require_choice(("pytorch", "orthogonal", "identity"), initialization=initialization)
        super().__init__(spec, hidden_size, optimization)
        self.encoder = _CELLS[cell](self.embedding.features, hidden_size, num_layers=layers)
        self.decoder = _CELLS[cell](self.feedback.features, hidden_size, num_layers=layers)
        for recurrence in (self.encoder, self.decoder):
            initialize(recurrence, initialization)

    @property
    def state_size(self) -> int:
        """Numbers that the decoder has of the input."""
        return self.encoder.hidden_size * self.encoder.states * self.encoder.num_layers

    def encode(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> States:
        """The states of all layers after the last step of each row."""
        return self.encoder(inputs, lengths)[1]

    def decode(
        self, previous: Float[Tensor, "batch steps features"], state: States
    ) -> tuple[Float[Tensor, "batch steps hidden"], States]:
        """The last layer's state at every step, and those of all layers after the last."""
        return self.decoder(previous, None, state)
