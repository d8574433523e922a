"""What a model may know of a task: the shapes and meaning of what goes in and what must come out.

Plain dataclasses; importing this module imports no torch.
"""

from dataclasses import dataclass
from typing import Literal

from rnnae_bench.errors import UserError, require_choice, require_positive


@dataclass(frozen=True)
class Tokens:
    """Inputs that are symbols: ``Int[Tensor, "batch time"]`` with values in [0, vocabulary)."""

    vocabulary: int
    """How many symbols there are, padding not counted."""
    length: int
    """Length of the longest sequence, in steps."""

    def __str__(self) -> str:
        return f"{self.length} steps of {self.vocabulary} symbols"


@dataclass(frozen=True)
class Vectors:
    """Inputs that are real vectors: ``Float[Tensor, "batch time features"]``."""

    features: int
    """Numbers per step."""
    length: int
    """Length of the longest sequence, in steps."""

    def __str__(self) -> str:
        return f"{self.length} steps of {self.features} real number{'s' if self.features > 1 else ''}"


@dataclass(frozen=True)
class Images:
    """Pictures with pixels in [0, 1]: ``Float[Tensor, "batch channel height width"]``.

    A sequence model reads a picture as its rows, from top to bottom.
    """

    channels: int
    height: int
    width: int

    @property
    def rows(self) -> Vectors:
        """The same picture as a sequence: one step a row, all channels of the row side by side."""
        return Vectors(features=self.channels * self.width, length=self.height)

    def __str__(self) -> str:
        return f"images of {self.channels}x{self.height}x{self.width} pixels in [0, 1]"


@dataclass(frozen=True)
class Static:
    """Inputs that are one real vector each, without time: ``Float[Tensor, "batch features"]``."""

    features: int

    @property
    def rows(self) -> Vectors:
        """The same vector as a sequence of one step."""
        return Vectors(features=self.features, length=1)

    def __str__(self) -> str:
        return f"{self.features} real number{'s' if self.features > 1 else ''} without time"


@dataclass(frozen=True)
class Classes:
    """Predictions that are classes: logits ``Float[Tensor, "batch [time] class"]``."""

    count: int
    end: int | None = None
    """The class that ends an output of its own length: the last of every target, and at no other step of it."""

    def __str__(self) -> str:
        return f"one of {self.count} classes" + ("" if self.end is None else f" ({self.end} ends)")


@dataclass(frozen=True)
class Values:
    """Predictions that are real vectors: ``Float[Tensor, "batch [time] features"]``."""

    features: int

    def __str__(self) -> str:
        return f"{self.features} real number{'s' if self.features > 1 else ''}"


@dataclass(frozen=True)
class TaskSpec:
    """All that a model may know of a task."""

    task: str
    """The task's registered name."""
    inputs: Tokens | Vectors | Images | Static
    """What goes in."""
    outputs: Classes | Values | Images
    """What must come out."""
    predicts: Literal["every step", "last step", "own length"]
    """Where a prediction is due: at every step, with a time axis; once, after the last step of the sequence, without
    one; or as a sequence of its own length, of `output_length` steps at most, after the whole input was read. Images
    are predicted whole; a sequence model predicts a row at every step. Inputs without time have one prediction a row
    (``last step``)."""
    causal: bool
    """Whether the prediction at step t may depend on the inputs up to t only."""
    scored_steps: tuple[int, int] | None = None
    """First and one-past-last step of those the primary metric looks at; None means all that are predicted. Where that
    differs from row to row, the batch says so (`Batch.mask`)."""
    variable_length: bool = False
    """Whether sequences end at different steps (their lengths then come with the batch)."""
    continues: bool = False
    """Whether each row of a training batch goes on where the same row of the batch before ended."""
    output_length: int | None = None
    """Steps of the longest output, where outputs have a length of their own. Those of each row come with the batch
    (`Batch.target_lengths`), whose targets may be padded to fewer."""
    code_limit: int | None = None
    """How many numbers an autoencoder's code of one row may have; None means any number. Where it is set, a model
    without a code is refused."""

    def __post_init__(self) -> None:
        require_choice(("every step", "last step", "own length"), predicts=self.predicts)
        own_length, static = self.predicts == "own length", isinstance(self.inputs, Static)
        if own_length != (self.output_length is not None):
            raise UserError(
                f"the spec of task '{self.task}' predicts '{self.predicts}' with output_length {self.output_length}; "
                "output_length says how long an output of its 'own length' may be, and is given there and only there"
            )
        if own_length and isinstance(self.outputs, Images):
            raise UserError(f"the spec of task '{self.task}' asks for images of their own length; they are one size")
        end, size = (self.outputs.end, self.outputs.count) if isinstance(self.outputs, Classes) else (None, 0)
        if end is not None and not (own_length and end in range(size)):
            raise UserError(
                f"the spec of task '{self.task}' has {self.outputs}; the class that ends an output is one of them, and "
                "is for outputs of their 'own length'"
            )
        if static and (self.predicts == "every step" or self.variable_length):
            raise UserError(
                f"the spec of task '{self.task}' has inputs without time, which have no steps and no lengths; predict "
                "at the 'last step' (once a row), or a sequence of its 'own length', without variable_length"
            )
        if self.output_length is not None:
            require_positive(output_length=self.output_length)
        if self.code_limit is not None:
            require_positive(code_limit=self.code_limit)

    @property
    def sequence(self) -> Tokens | Vectors:
        """The inputs as a sequence: an image as its rows, a vector without time as one step."""
        return self.inputs.rows if isinstance(self.inputs, Images | Static) else self.inputs

    @property
    def reconstructs(self) -> bool:
        """Whether the outputs have the form of the inputs, read whole, so that an autoencoder can serve."""
        inputs = self.inputs
        if isinstance(inputs, Images):
            return inputs == self.outputs
        if self.causal or self.predicts != ("last step" if isinstance(inputs, Static) else "every step"):
            return False
        return self.outputs == (Classes(inputs.vocabulary) if isinstance(inputs, Tokens) else Values(inputs.features))

    def __str__(self) -> str:
        due = "" if isinstance(self.inputs, Static) else f", {self.predicts}"
        if self.output_length is not None:
            due = f", own length of at most {self.output_length} steps"
        code = "" if self.code_limit is None else f", through a code of at most {self.code_limit} numbers"
        return f"{self.inputs} -> {self.outputs}{due}{code}"
