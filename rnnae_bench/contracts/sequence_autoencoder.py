"""The base class of models that squeeze a whole sequence through a code."""

from abc import abstractmethod
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from rnnae_bench.contracts.heads import Embedding, Head
from rnnae_bench.contracts.model import Autoencoder
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.spec import Images, TaskSpec, Tokens, Vectors


class SequenceAutoencoder(Autoencoder):
    """An autoencoder of sequences of symbols or vectors, or of images as their rows.

    Subclasses give `encode` and `decode`; embedding and head come with the spec.

    Args:
        spec: The task to serve.
        features: Size of the vector that `decode` returns at each step.
        optimization: How to train.
    """

    reconstructs: ClassVar = (Tokens, Vectors, Images)

    def __init__(self, spec: TaskSpec, features: int, optimization: Optimization) -> None:
        super().__init__(spec, optimization)
        self.embedding = Embedding(spec)
        self.head = Head(spec, features)

    @abstractmethod
    def encode(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch code"]:
        """The code of each embedded sequence."""

    @abstractmethod
    def decode(  # type: ignore[override]
        self, code: Float[Tensor, "batch code"], steps: int
    ) -> Float[Tensor, "batch time hidden"]:
        """The vector that each step is read off, of so many steps; of shorter sequences the first ones count."""

    def code(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Float[Tensor, "batch code"]:
        """The code of each of the task's inputs."""
        return self.encode(self.embedding(inputs), lengths)

    def forward(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Tensor:
        """Encode, decode as many steps as were read, and read the prediction off them."""
        steps = self.spec.sequence.length if isinstance(self.spec.inputs, Images) else inputs.shape[1]
        return self.head(self.decode(self.code(inputs, lengths), steps))
