"""What the models around this suite's recurrences have in common."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from rnnae_bench.contracts.heads import Head
from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_choice, require_fraction, require_not_negative, require_positive
from rnnae_bench.models.initialization import Initialization, initialize
from rnnae_bench.models.stacked import RecurrentStack
from rnnae_bench.recurrence.stack import Stack, States

Readout = Literal["last", "all"]
"""What one answer a sequence is read from."""


@dataclass(frozen=True)
class ThroughTime:
    """How state and gradient pass through time while training.

    Args:
        window: Steps after which the gradient is cut (truncated backpropagation through time, Williams & Peng 1990);
            the state is carried on. 0 never cuts.
        learned_state: Learn the initial state, instead of starting from zero.
        stateful: Start each training batch from the final state of the one before; for tasks whose batches continue
            each other.
        recurrent_dropout: Share of the recurrent weights zeroed, the same at all steps of a batch (DropConnect,
            Merity, Keskar & Socher 2018).
    """

    window: int = 0
    learned_state: bool = False
    stateful: bool = False
    recurrent_dropout: float = 0.0

    def __post_init__(self) -> None:
        require_not_negative(window=self.window)
        require_fraction(recurrent_dropout=self.recurrent_dropout)
        if self.learned_state and self.stateful:
            raise UserError("learned_state and stateful are both set, and a batch can start from one state only")


class RecurrenceModel(SequenceModel):
    """A model around a stack of recurrences, which is run over padded sequences.

    Args:
        kind: Makes the stack.
        spec: The task to serve.
        hidden_size: Numbers in the state of one layer and direction.
        layers: Recurrent layers, each reading the states of the one below.
        bidirectional: Add a second recurrence that reads from the end.
        dropout: Share of the states zeroed between layers while training.
        initialization: How the stack is initialised; None leaves it as it was made.
        through_time: How state and gradient pass through time while training.
        optimization: How to train.
        readout: What one answer a sequence is read from: the state after the last step, or the states of all steps side
            by side, so that the head has T times as many weights; that wants sequences of one length T.
        options: Of the stack alone.
    """

    model_axis: ClassVar[bool] = False
    """Whether K models of this class, and of none derived from it, can run on the model axis of the stack."""

    @abstractmethod
    def __init__(
        self,
        kind: Callable[..., Stack],
        spec: TaskSpec,
        hidden_size: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
        initialization: Initialization | None,
        through_time: ThroughTime,
        optimization: Optimization,
        readout: Readout = "last",
        **options: Any,
    ) -> None:
        require_choice(("last", "all"), readout=readout)
        require_positive(hidden_size=hidden_size, layers=layers)
        require_fraction(dropout=dropout)
        if initialization is not None:
            require_choice(("pytorch", "orthogonal", "identity"), initialization=initialization)
        if dropout and layers == 1:
            raise UserError(f"dropout is {dropout} with one layer; it acts between layers, so set layers to 2 or more")
        super().__init__(spec, hidden_size * (2 if bidirectional else 1), optimization, bidirectional)
        self.recurrence = kind(
            self.embedding.features,
            hidden_size,
            num_layers=layers,
            bidirectional=bidirectional,
            dropout=dropout,
            recurrent_dropout=through_time.recurrent_dropout,
            window=through_time.window,
            learned_state=through_time.learned_state,
            **options,
        )
        if initialization is not None:
            initialize(self.recurrence, initialization)
        self.readout = readout
        if readout == "all":
            self.head = Head(spec, spec.sequence.length * self.head.affine.in_features)
        self._stateful = through_time.stateful
        self._carried: States | None = None

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses what `SequenceModel` does, to carry a state over to batches that don't continue the last, and more.

        That is to read one answer off all states where there is more than one answer, or more than one length.
        """
        if hyperparameters.get("readout") == "all" and (spec.predicts != "last step" or spec.variable_length):
            lengths = f"sequences of up to {spec.sequence.length} steps" if spec.variable_length else spec.predicts
            return f"readout 'all' gives one answer from the states of as many steps each time; this task has {lengths}"
        through_time = hyperparameters.get("through_time", ThroughTime())
        stateful = through_time["stateful"] if isinstance(through_time, dict) else through_time.stateful
        if stateful and not spec.continues:
            return "its batches don't continue each other, so that no state can be carried over (through_time.stateful)"
        return super().supports(spec, **hyperparameters)

    @property
    def state_size(self) -> int:
        """Numbers carried from one step to the next, over all layers and directions."""
        recurrence = self.recurrence
        per_layer = recurrence.hidden_size * recurrence.states
        return per_layer * recurrence.num_layers * (2 if recurrence.bidirectional else 1)

    def stackable(self) -> str | None:
        """On their own model axis, which a class derived from these may not use: without dropout or a carried state."""
        if not self._has_model_axis():
            return super().stackable()
        if self.recurrence.dropout or self.recurrence.recurrent_dropout:
            return "dropout would draw other random numbers than in the trial alone"
        if self._stateful:
            return "it carries its state from batch to batch"
        return None

    @classmethod
    def stack(cls, models: Sequence[Any]) -> nn.Module:
        """K models on the recurrence's own model axis."""
        return RecurrentStack(models) if cls._has_model_axis() else super().stack(models)

    @classmethod
    def _has_model_axis(cls) -> bool:
        return bool(vars(cls).get("model_axis"))

    def states(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """The last layer's state at every step; where sequences differ in length, zero beyond their end."""
        if not (self._stateful and self.training):
            return self.recurrence(inputs, lengths)[0]
        carried = self._carried
        if carried is not None and carried[0].shape[-2] != len(inputs):
            carried = None
        states, final = self.recurrence(inputs, lengths, carried)
        self._carried = tuple(one.detach() for one in final)
        return states

    def forward(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Tensor:
        """As `SequenceModel.forward`; or the prediction off the states of all steps."""
        if self.readout == "last":
            return super().forward(inputs, lengths)
        return self.head(self.states(self.embedding(inputs), lengths).flatten(-2))

    @property
    def resumes(self) -> bool:
        """Whether `resume` gives what `forward` reads: not where it reads from the end, or all states at once."""
        own, whole = type(self), self.bidirectional or self.readout == "all"
        return not whole and (own.forward, own.states) == (RecurrenceModel.forward, RecurrenceModel.states)

    def resume(
        self, inputs: Float[Tensor, "batch time features"], state: States | None = None
    ) -> tuple[Float[Tensor, "batch time hidden"], States]:
        """The last layer's state at every step of inputs that go on from the states of all layers, and the latter."""
        return self.recurrence(inputs, None, state)
