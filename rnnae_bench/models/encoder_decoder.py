"""An encoder-decoder of two recurrences: one reads a sequence, the other writes the answer.

    h_t = cell(x_t, h_(t-1)),    s_0 = h_T,    s_u = cell'(y_(u-1), s_(u-1)),    answer u: W s_u + b.

y_(u-1) is the answer before: in training the target (teacher forcing), at evaluation the model's own. All that the
decoder knows of the input is h_T; with attention it also reads a mean of all h_t, weighted by how well each fits s_u.

Sources: Sutskever, Vinyals & Le (2014), Sequence to sequence learning with neural networks, NeurIPS; Cho et al. (2014),
Learning phrase representations using RNN encoder-decoder for statistical machine translation, EMNLP.
"""

from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rnnae_bench.contracts.encoder_decoder import EncoderDecoder
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.contracts.state_size import Growing
from rnnae_bench.errors import require_choice, require_positive
from rnnae_bench.models.attention import Attention
from rnnae_bench.models.attention import attention as attention_of
from rnnae_bench.models.initialization import Initialization, initialize
from rnnae_bench.recurrence import gru, lstm, vanilla
from rnnae_bench.recurrence.recording import padding_of

_CELLS = {"rnn": vanilla.RNN, "lstm": lstm.LSTM, "gru": gru.GRU}


class Seq2Seq(EncoderDecoder):
    """Encoder-decoder (Sutskever et al. 2014, Cho et al. 2014): a recurrence reads, another writes from its last state.

    h_t = cell(x_t, h_(t-1)), s_0 = h_T, s_u = cell'(y_(u-1), s_(u-1)), and the answer u is W s_u + b, where y_(u-1) is
    the answer before: the target in training, the model's own at evaluation. With `attention` the answer is read off
    tanh(W_c (s_u, c_u)) instead, where c_u is the mean of the h_t weighted by softmax(score(s_u, h_t)) (Luong et al.
    2015), which takes 2 N^2 + N weights beside those of the score, N^2 or 2 N (N + 1).

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state of one layer, of reader and writer alike.
        layers: Recurrent layers of either.
        cell: The recurrence of both.
        initialization: PyTorch's uniform, orthogonal, or identity recurrent weights.
        attention: How a state of the reader is scored: not at all, v tanh(W s + U h) (Bahdanau et al. 2015), or s W h.
        optimization: How to train.
    """

    bibtex = ("sutskever2014", "cho2014", "luong2015")

    later_options: ClassVar = ("attention",)

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: Annotated[int, Range(16, 256, log=True)] = 128,
        layers: int = 1,
        cell: Literal["rnn", "lstm", "gru"] = "gru",
        initialization: Initialization = "orthogonal",
        attention: Literal["none", "additive", "dot"] = "none",
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_positive(hidden_size=hidden_size, layers=layers)
        require_choice(("rnn", "lstm", "gru"), cell=cell)
        require_choice(("pytorch", "orthogonal", "identity"), initialization=initialization)
        require_choice(("none", "additive", "dot"), attention=attention)
        super().__init__(spec, hidden_size, optimization)
        self.encoder = _CELLS[cell](self.embedding.features, hidden_size, num_layers=layers)
        self.decoder = _CELLS[cell](self.feedback.features, hidden_size, num_layers=layers)
        for recurrence in (self.encoder, self.decoder):
            initialize(recurrence, initialization)
        self.attention: Attention | None = None
        if attention != "none":
            self.attention = attention_of(attention, hidden_size, hidden_size)
            self.together = nn.Linear(2 * hidden_size, hidden_size)

    @property
    def state_size(self) -> int | Growing:
        """Numbers that the decoder has of the input; with attention, what each of its steps adds to them."""
        if self.attention is not None:
            return Growing(self.encoder.hidden_size)
        return self.encoder.hidden_size * self.encoder.states * self.encoder.num_layers

    def encode(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Any:
        """The states of all layers after the last step of each row; with attention, beside what there is to look at."""
        states, final = self.encoder(inputs, lengths)
        if self.attention is None:
            return final
        beyond = None if lengths is None else padding_of(lengths.to(inputs.device), inputs.shape[1]).movedim(0, -1)
        return final, states, beyond

    def decode(
        self, previous: Float[Tensor, "batch steps features"], state: Any
    ) -> tuple[Float[Tensor, "batch steps hidden"], Any]:
        """What is read at every step, and the state after the last."""
        if self.attention is None:
            return self.decoder(previous, None, state)
        before, memory, beyond = state
        states, final = self.decoder(previous, None, before)
        context = self.attention(states, memory, beyond)
        return self.together(torch.cat((states, context), dim=-1)).tanh(), (final, memory, beyond)
