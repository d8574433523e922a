"""Recurrences that read their inputs through one affine map: that of all steps is one product, before the loop."""

from abc import abstractmethod

from jaxtyping import Float, Int
from torch import Tensor

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.stepping import State, unroll


class DrivenModel(SequenceModel):
    """A model whose `step` is `advance` under the `drive` of its inputs; both are for subclasses to give.

    The drive is in single precision at least, and states are in that of the drive: what adds up over many small steps
    is lost in half precision.
    """

    @abstractmethod
    def drive(self, inputs: Float[Tensor, "*axes features"]) -> Float[Tensor, "*axes drive"]:
        """What a step adds to its state before a nonlinearity, for as many steps as there are."""

    @abstractmethod
    def advance(self, drive: Float[Tensor, "batch drive"], state: State) -> tuple[Float[Tensor, "batch hidden"], State]:
        """One step: what the head reads, and the state after it."""

    def step(
        self, inputs: Float[Tensor, "batch features"], state: State
    ) -> tuple[Float[Tensor, "batch hidden"], State]:
        """As `SequenceModel.step`."""
        return self.advance(self.drive(inputs), state)

    def states(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """As `SequenceModel.states`; what stands beyond the end of a sequence reaches none before it."""
        return self.resume(inputs)[0]

    def resume(
        self, inputs: Float[Tensor, "batch time features"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch time hidden"], State]:
        """As `SequenceModel.resume`."""
        state = self.initial_state(len(inputs)) if state is None else state
        return unroll(self.advance, state, self.drive(inputs), show=self._show)
