"""The base classes of models: LightningModules made from a task's spec and their own hyper-parameters."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch, training_prediction
from rnnae_bench.contracts.heads import Embedding, Head, last_state
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.spec import Images, Static, TaskSpec, Tokens, Vectors
from rnnae_bench.contracts.state_size import Growing
from rnnae_bench.contracts.stepping import State, parts_of, size_of, unroll
from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError
from rnnae_bench.training.block_loop import PER_BATCH_HOOKS, BlockLoop
from rnnae_bench.training.clipping import Clipping
from rnnae_bench.training.loss_terms import Loss
from rnnae_bench.training.stacking import FunctionalStack, objection


class BenchModule(BlockLoop, ABC):
    """A model of the suite: `forward` gives the prediction, the task gives the loss.

    How it is trained, batch by batch or in blocks, and what callbacks are told of it: see `BlockLoop`.

    A model that is not trained by an optimiser has a method ``fit(self, task)``, which is called once in its place (a
    closed form, say). It may take ``task.train_batch(step)`` for each step of ``range(task.protocol.max_steps)`` as
    often as it likes, and the validation set; those are on the CPU, its weights on ``self.device``.

    Args:
        spec: The task to serve.
        optimization: How to train; a model with a `fit` leaves it out.
    """

    width_option: ClassVar[str | None] = None
    """The hyper-parameter that says how wide the model is, which ``--match`` chooses: a whole number, or sizes that
    keep their proportion. None: the first of ``hidden_size``, ``hidden_sizes`` and ``channels`` that there is."""

    bibtex: ClassVar[tuple[str, ...]] = ()
    """The keys of what to cite, in the ``references.bib`` beside the module or in a folder above it; a literal."""

    later_options: ClassVar[tuple[str, ...]] = ("optimization.halve_every",)
    """Options that came to the class after records of it were published, and whose default is what it did before.

    Records leave them out where they have their default, so that older and newer ones are of one row. A class names its
    own; those of its bases stay.
    """

    has_code: bool = False
    """Whether what `state_size` counts is a code: of an `Autoencoder`."""

    shown_to: Callable[..., object] | None = None
    """What `watch` shows a state to; None outside of profiles."""

    def __init__(self, spec: TaskSpec, optimization: Optimization = Optimization()) -> None:  # noqa: B008 (frozen)
        super().__init__(Clipping(optimization.clip, optimization.clip_by))
        self.spec = spec
        self.optimization = optimization

    def watch(self, h: Tensor, name: str = "h", backward: bool = False) -> Tensor:
        """Show a state of a loop of the model's own, so that profiles have the gradient that reaches it: dL/dh_t.

        Call it on each new state, in the order of the loop, and go on with what it returns: that is `h` itself. Outside
        of profiles it does nothing. In one, the k-th call under a name is step k, whatever the loop looks like.

        States of all steps at once, ``[batch, time, features]``, or of some in a row, are taken apart into their steps.
        The gradient is then the one that reaches what is shown: where step t + 1 was not computed from what is shown of
        step t (a scan, a convolution), it has nothing of the way back through time. Give a `step` to see that.

        Args:
            h: The state after a step, real or complex: ``[batch, features]``, each row that of the batch.
            name: What the state is called, or ``LAYER/STATE`` where there are several layers (``l0/h``, ``l1/c``).
            backward: Whether the loop reads from the end, so that the first call is the last step.
        """
        if self.shown_to is not None:
            self.shown_to(h, name, backward)
        return h

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Why this model, with these hyper-parameters, can't serve the spec; None where it can.

        Here: its `forward` takes no targets, and outputs have a length of their own; or codes are limited, and it has
        none.
        """
        taken = inspect.signature(cls.forward).parameters.values()
        takes_targets = any(each.name == "targets" or each.kind is each.VAR_KEYWORD for each in taken)
        if spec.predicts == "own length" and not takes_targets:
            return (
                "the task asks for a sequence of its own length, and the model's forward takes no targets to train on"
            )
        if spec.code_limit is not None and not issubclass(cls, Autoencoder):
            return (
                f"the task is to be solved through a code of at most {spec.code_limit} numbers, and the model has none"
            )
        return None

    @property
    def state_size(self) -> int | Growing | None:
        """Real numbers the model carries from the input to the output: recurrent state, or code. None: it is not said.

        A complex number counts twice. Of a state that grows with time, what a step adds to it.
        """
        return None

    @property
    def task(self) -> Task:
        """The task being trained on."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @abstractmethod
    def forward(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Tensor:
        """The prediction for a batch of inputs.

        A model for outputs of their own length also takes ``targets=None``: in training it gets the batch's, and
        predicts as many steps; at evaluation it gets none, and predicts `TaskSpec.output_length` steps by itself. No
        step may depend on its own target or on later ones.
        """

    def training_loss(self, batch: Batch) -> Loss:
        """What is minimised: the task's loss of the prediction. A model with a loss of its own overrides this.

        Returns:
            A number, the mean over the rows of the batch; or several by name, each such a mean (of a variational
            autoencoder ``{"reconstruction": ..., "kl": ...}``), whose sum is minimised.
        """
        return self.task.loss(training_prediction(self, batch, self.spec), batch)

    @property
    def loss_source(self) -> str:
        """The class and the method that give the loss: the task's, unless the model has one of its own."""
        own = type(self).training_loss is not BenchModule.training_loss
        return super().loss_source if own else self.task.loss_source

    @classmethod
    def can_train_in_blocks(cls) -> bool:
        """Whether the class leaves to this one all that Lightning calls once a batch."""
        return all(getattr(cls, hook) is getattr(BenchModule, hook) for hook in PER_BATCH_HOOKS)

    def stackable(self) -> str | None:
        """Why K models like this one, with other weights, can't be trained as one; None where that may be tried.

        Where it may, they are also tried out: they must come to what each comes to alone. A model of one's own need do
        nothing: `stack` is then a product of its forward passes under ``torch.vmap``.
        """
        return objection(self, BenchModule)

    @classmethod
    def stack(cls, models: Sequence[Any]) -> nn.Module:
        """K models of this class as one module; one whose recurrence has a model axis of its own overrides this.

        Returns:
            A module whose weights have the names of one model's, and an axis K in front; from inputs ``[K batch ...]``
            and lengths ``[K batch]`` or None to predictions ``[K batch ...]``.
        """
        return FunctionalStack(models)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The prediction; the runner scores it."""
        return self.task.predict(self, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The prediction; the runner scores it."""
        return self.task.predict(self, batch)

    def configure_optimizers(self) -> Any:
        """Adam under the schedule of `optimization`, over the trainer's whole budget."""
        steps = self.trainer.max_steps
        weights = list(self.parameters())
        optimizer = torch.optim.AdamW(
            weights,
            lr=self.optimization.learning_rate,
            weight_decay=self.optimization.weight_decay,
            # Under automatic mixed precision Lightning won't clip for an optimiser that could unscale by itself.
            # Complex numbers, which the other form has as pairs of real ones, the fused form does not take.
            fused="mixed" not in str(self.trainer.precision) and not any(map(torch.is_complex, weights)),
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.optimization.rate(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class SequenceModel(BenchModule):
    """A model that has a state at every step. Embedding and head come with the spec.

    Subclasses give `states`; or `step` and `initial_state`, of which the suite makes `states`, the gradient by step,
    Jacobians and Lyapunov exponents; or both, where there is a faster way than step by step (the two must agree:
    `rnnae_bench.testing.check_model` sees to it).

    Args:
        spec: The task to serve.
        features: Size of the state vector that `states` returns at each step.
        optimization: How to train.
        bidirectional: Whether the second half of each state was computed from the end of the sequence.
    """

    def __init__(
        self,
        spec: TaskSpec,
        features: int,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
        bidirectional: bool = False,
    ) -> None:
        super().__init__(spec, optimization)
        if not (self.has_step or self.has_states):
            raise UserError(
                f"{type(self).__name__} gives neither states(inputs, lengths) nor both step(inputs, state) and "
                "initial_state(batch_size); a sequence model needs one of them"
            )
        if bidirectional and not self.has_states:
            raise UserError(f"{type(self).__name__}.step reads forward; a bidirectional model gives states")
        self.bidirectional = bidirectional
        self.embedding = Embedding(spec)
        self.head = Head(spec, features)

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses a bidirectional model where the future must not be seen, and what is not answered step by step.

        That is inputs without time, outputs of their own length, and images as single answers.
        """
        if isinstance(spec.inputs, Static):
            return f"it runs over time, and the task's inputs are {spec.inputs}"
        if spec.predicts == "own length":
            return "it answers at the steps that it reads, and the task asks for a sequence of its own length"
        if hyperparameters.get("bidirectional") and spec.causal:
            return "the task is causal: a bidirectional model would read the future"
        if isinstance(spec.outputs, Images) and spec.outputs.height != spec.sequence.length:
            return (
                f"it answers one row per step read, {spec.sequence.length} in all, "
                f"and the task wants {spec.outputs.height}"
            )
        return super().supports(spec, **hyperparameters)

    @property
    def has_states(self) -> bool:
        """Whether the class gives a `states` of its own."""
        return type(self).states is not SequenceModel.states

    @property
    def has_step(self) -> bool:
        """Whether the class gives a `step`; one without `initial_state` is something else of the same name."""
        own, base = type(self), SequenceModel
        return own.step is not base.step and own.initial_state is not base.initial_state

    def initial_state(self, batch_size: int) -> State:
        """The state before the first step: a tensor, or tensors in tuples and dictionaries; the batch is axis 0."""
        raise NotImplementedError

    def step(
        self, inputs: Float[Tensor, "batch features"], state: State
    ) -> tuple[Float[Tensor, "batch hidden"], State]:
        """What one step makes of its embedded inputs and of the state before it: what the head reads, and the state."""
        raise NotImplementedError

    def states(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch time hidden"]:
        """What the head reads at every step of the embedded inputs: by default, `step` by step."""
        return self.unrolled(inputs, lengths)[0]

    def unrolled(
        self,
        inputs: Float[Tensor, "batch time features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch time hidden"], State]:
        """The loop over `step`: what the head reads at every step, and the state after the last one of each row."""
        return unroll(self.step, self.initial_state(len(inputs)), inputs, lengths, self._show)

    @property
    def resumes(self) -> bool:
        """Whether `resume` gives what `forward` reads: where there is a `step`, and `forward` is of this class."""
        return self.has_step and type(self).forward is SequenceModel.forward

    def resume(
        self, inputs: Float[Tensor, "batch time features"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch time hidden"], State]:
        """What the head reads at every step of embedded inputs that go on from a state, and the state after the last.

        Args:
            inputs: Embedded inputs, without padding.
            state: As it was given before; None at the beginning of a sequence.
        """
        return unroll(self.step, self.initial_state(len(inputs)) if state is None else state, inputs)

    @property
    def state_size(self) -> int | Growing | None:
        """As `BenchModule.state_size`; by default the numbers of `initial_state`, where there is a `step`."""
        return size_of(self.initial_state(1)) or None if self.has_step else None

    def _show(self, state: State) -> None:
        """Show the state after a step to a profile, part by part."""
        if self.shown_to is not None:
            for name, part in parts_of(state):
                if part.is_floating_point() or part.is_complex():
                    self.shown_to(part, name, whole=True)

    def forward(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Tensor:
        """Embed, run over time, and read the prediction off the states the task asks for."""
        states = self.states(self.embedding(inputs), lengths)
        if self.spec.predicts == "last step":
            states = last_state(states, lengths, self.bidirectional)
        return self.head(states)


class Autoencoder(BenchModule):
    """A model that squeezes its input, an image unless it says otherwise, through a code.

    Subclasses give `encode` and `decode`; for sequences they are made from `SequenceAutoencoder`. A hyper-parameter
    called ``code_size`` is taken for how many numbers the code has.
    """

    has_code = True
    reconstructs: ClassVar[tuple[type, ...]] = (Images,)
    """The kinds of inputs that the class can encode: `Images`, `Static`."""

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses outputs of another form than the inputs, a form that the class can't encode, and too large a code."""
        if not isinstance(spec.inputs, cls.reconstructs):
            kinds = " or ".join(_KINDS[kind] for kind in cls.reconstructs)
            return f"this autoencoder reconstructs {kinds}, and the task's inputs are {spec.inputs}"
        if not spec.reconstructs:
            asked = "an answer before all was read" if spec.causal else f"{spec.outputs}, {spec.predicts}"
            return f"an autoencoder reconstructs its inputs, {spec.inputs}, and the task asks for {asked}"
        size = hyperparameters.get("code_size", _default_of(cls, "code_size"))
        if spec.code_limit is not None and isinstance(size, int) and size > spec.code_limit:
            return f"its code has {size} numbers, and the task allows {spec.code_limit}; set code_size to that or less"
        return super().supports(spec, **hyperparameters)

    @abstractmethod
    def encode(self, inputs: Float[Tensor, "batch *input"]) -> Float[Tensor, "batch code"]:
        """The code of each input."""

    @abstractmethod
    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch *input"]:
        """What each code stands for; of an image, pixels in [0, 1]."""

    def code(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Tensor:
        """All that a prediction is made from: `encode` of the task's inputs."""
        return self.encode(inputs)

    def forward(self, inputs: Tensor, lengths: Int[Tensor, " batch"] | None = None) -> Tensor:
        """Encode and decode."""
        return self.decode(self.code(inputs, lengths))


_KINDS = {
    Images: "images",
    Static: "vectors without time",
    Tokens: "sequences of symbols",
    Vectors: "sequences of vectors",
}


def _default_of(model: type, hyperparameter: str) -> Any:
    """The default of a hyper-parameter; None where there is none."""
    found = inspect.signature(model).parameters.get(hyperparameter)
    return None if found is None else found.default
