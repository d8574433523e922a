"""What a model may know of a task: the shapes and meaning of what goes in and what must come out.

Plain dataclasses; importing this module imports no torch.
"""

from dataclasses import dataclass
from typing import Literal


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
class Classes:
    """Predictions that are classes: logits ``Float[Tensor, "batch [time] class"]``."""

    count: int

    def __str__(self) -> str:
        return f"one of {self.count} classes"


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
    inputs: Tokens | Vectors | Images
    """What goes in."""
    outputs: Classes | Values | Images
    """What must come out."""
    predicts: Literal["every step", "last step"]
    """Whether a prediction is due at every step, with a time axis, or once, after the last step of the
    sequence, without one. Images are predicted whole; a sequence model predicts a row at every step."""
    causal: bool
    """Whether the prediction at step t may depend on the inputs up to t only."""
    scored_steps: tuple[int, int] | None = None
    """First and one-past-last step of those the primary metric looks at; None means all that are predicted."""
    variable_length: bool = False
    """Whether sequences end at different steps (their lengths then come with the batch)."""
    continues: bool = False
    """Whether each row of a training batch goes on where the same row of the batch before ended."""

    @property
    def sequence(self) -> Tokens | Vectors:
        """The inputs as a sequence: an image as its rows."""
        return self.inputs.rows if isinstance(self.inputs, Images) else self.inputs

    def __str__(self) -> str:
        return f"{self.inputs} -> {self.outputs}, {self.predicts}"
