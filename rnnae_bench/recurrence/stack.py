"""What recurrences as modules have in common: layers, directions, lengths, dropout, initial states, weights."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import dropout

from rnnae_bench.errors import UserError, require_choice, require_fraction, require_not_negative, require_positive
from rnnae_bench.recurrence.deltas import Deltas
from rnnae_bench.recurrence.recording import Passage, Recording, going_on, padding_of, turned
from rnnae_bench.recurrence.recovery import Tape
from rnnae_bench.recurrence.reference import Weights

Backend = Literal["auto", "kernel", "fused"]
States = tuple[Tensor, ...]


class Stack(nn.Module, ABC):
    """Recurrent layers over each other, in one direction or both.

    Weights, their names and their first values under a seed are those of ``torch.nn.RNN``, ``LSTM`` and ``GRU``, so
    that state dicts load both ways. With `models` = K every weight gets a leading axis K and every batch too: K
    independent stacks that run in the same matrix products.

    Args:
        input_size: Features of the inputs.
        hidden_size: Numbers in the state of one layer and direction.
        num_layers: Layers; each reads the states of the one below.
        bidirectional: Add a second recurrence to each layer that reads from the end.
        dropout: Share of the states zeroed between layers while training.
        recurrent_dropout: Share of the recurrent weights zeroed while training, drawn anew for each forward pass
            and the same at all its steps (DropConnect: Merity, Keskar & Socher 2018).
        window: Truncated backpropagation through time (Williams & Peng 1990): the state is carried on, and the
            gradient is cut every so many steps; 0 never cuts.
        learned_state: Learn the initial state (it starts as zero) instead of leaving it zero.
        bias: Whether there are biases; without them b_ih and b_hh are zero.
        in_full: Compute in the format of the weights under autocast too, as where the rounding of many steps adds up.
        models: K; None for one stack without a model axis.
        backend: ``kernel``, the recurrence of this suite, which leaves dL/dh_t behind; ``fused``, PyTorch's; ``auto``
            takes the faster one of those that can do what is asked.
    """

    gate_names: ClassVar[tuple[str, ...]]
    """The gates in the order in which their matrices are stacked; a recurrence without gates has one, ``h``."""
    keeping_gate: ClassVar[str | None] = None
    """The gate that the old state is multiplied with, where there is one."""
    states: int = 1
    """Vectors carried from step to step."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        window: int = 0,
        learned_state: bool = False,
        bias: bool = True,
        in_full: bool = False,
        models: int | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        require_positive(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        require_fraction(dropout=dropout, recurrent_dropout=recurrent_dropout)
        require_not_negative(window=window)
        require_choice(("auto", "kernel", "fused"), backend=backend)
        if models is not None:
            require_positive(models=models)
        if backend == "fused" and models is not None:
            raise UserError(
                f"PyTorch's fused recurrences hold one model and {models} were asked for; use backend 'kernel'"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bidirectional, self.dropout, self.recurrent_dropout = bidirectional, dropout, recurrent_dropout
        self.window, self.bias, self.in_full = window, bias, in_full
        self.models, self.backend = models, backend
        self._recordings: list[list[Recording]] = []
        lead = () if models is None else (models,)
        directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            features = input_size if layer == 0 else hidden_size * directions
            for suffix in ("", "_reverse")[:directions]:
                for kind, shape in self.shapes(features).items():
                    self.register_parameter(f"{kind}_l{layer}{suffix}", nn.Parameter(torch.empty(*lead, *shape)))
        self.learned: nn.ParameterList | None = None
        bound = 1 / math.sqrt(hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)
        if learned_state:
            shape = (*lead, num_layers * directions, 1, hidden_size)
            self.learned = nn.ParameterList([nn.Parameter(torch.zeros(shape)) for _ in range(self.states)])

    def shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights of one layer and direction, by kind: as in ``torch.nn``.

        Args:
            features: Of what the layer reads.
        """
        rows = len(self.gate_names) * self.hidden_size
        biases = {"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {}
        return {"weight_ih": (rows, features), "weight_hh": (rows, self.hidden_size), **biases}

    @abstractmethod
    def kernel(
        self,
        x: Float[Tensor, "*model time batch features"],
        weights: Weights,
        initial: States,
        padding: Bool[Tensor, "*model time batch 1"] | None,
        deltas: Deltas | None,
    ) -> States:
        """All states of one layer and direction, ``[*model time batch hidden]`` each."""

    @abstractmethod
    def fused(
        self, x: Float[Tensor, "time batch features"], weights: Weights, initial: States
    ) -> tuple[Tensor, States]:
        """The same in PyTorch's own: states h ``[time batch hidden]``, and the final states."""

    @abstractmethod
    def tape(self, passage: Passage) -> Tape:
        """The backward recurrence of a recorded passage."""

    def gates(self, passage: Passage) -> dict[str, Float[Tensor, "*model time batch hidden"]]:
        """What each gate of a recorded passage was at every step, from 0 to 1, by its name; none without gates."""
        return {}

    @property
    def prefers_fused(self) -> bool:
        """Whether PyTorch's fused recurrence is the faster one here."""
        return self._first.is_cuda

    @property
    def _first(self) -> Tensor:
        return self.weight_ih_l0  # type: ignore[return-value]

    def weights_of(self, name: str) -> Weights:
        """The weights of one layer and direction, named as in ``l0_reverse``, as the kernel takes them."""
        own = self.own_weights(name)
        w_ih = own["weight_ih"]
        zero = w_ih if self.bias else w_ih.new_zeros(w_ih.shape[:-1])
        return Weights(w_ih, own["weight_hh"], own.get("bias_ih", zero), own.get("bias_hh", zero))

    def own_weights(self, name: str) -> dict[str, Tensor]:
        """The weights of one layer and direction by their kind, as they are trained; see `shapes`."""
        return {kind: getattr(self, f"{kind}_{name}") for kind in self.shapes(self.input_size)}

    def recurrent_matrices(self, weights: Weights) -> dict[str, Float[Tensor, "*model hidden hidden"]]:
        """W_hh gate by gate, by the gate's name."""
        return dict(zip(self.gate_names, weights.w_hh.split(self.hidden_size, dim=-2), strict=True))

    @contextmanager
    def recording(self) -> Iterator[list[Recording]]:
        """While it lasts, every forward pass leaves a `Recording` in the list."""
        recordings: list[Recording] = []
        self._recordings.append(recordings)
        try:
            yield recordings
        finally:
            # By identity: two lists that hold the same recordings are equal.
            self._recordings = [one for one in self._recordings if one is not recordings]

    def forward(
        self,
        inputs: Float[Tensor, "*model batch time features"],
        lengths: Int[Tensor, "*model batch"] | None = None,
        state: States | None = None,
    ) -> tuple[Float[Tensor, "*model batch time hidden"], States]:
        """Run over whole sequences.

        Args:
            inputs: Padded sequences; what the padding holds changes nothing.
            lengths: Steps of each sequence, at least 1; None where all have as many as `inputs`.
            state: Initial states, ``[*model layers*directions batch hidden]`` each (h, for an LSTM h and c);
                None for zero, or the learned one.

        Returns:
            The last layer's states at every step (both directions side by side), zero in the padding, and the
            states after each sequence's own last step, in the form of `state`.

        Raises:
            UserError: Where shapes disagree, or the backend can't do what is asked.
        """
        self._check(inputs, lengths)
        x = self._cast(inputs.transpose(-3, -2))
        padding = None
        if lengths is not None:
            lengths = lengths.to(x.device)
            padding = padding_of(lengths, x.shape[-3])
            x = x.masked_fill(padding, 0.0)
        before = going_on(state, self._recordings[-1]) if self._recordings else None
        initial = self._initial(x, state if before is None else before.inner)
        places = initial[0].shape[-3]
        recording = Recording(self, lengths) if self._recordings else None
        finals: list[States] = []
        for layer in range(self.num_layers):
            passages: list[Passage] = []
            outputs = []
            for suffix in ("", "_reverse") if self.bidirectional else ("",):
                name = f"l{layer}{suffix}"
                start = initial if places == 1 else tuple(one.narrow(-3, len(finals), 1) for one in initial)
                weights = self.weights_of(name)
                if weights.w_hh.dtype != x.dtype:
                    weights = weights.map(partial(Tensor.to, dtype=x.dtype))
                if self.recurrent_dropout:
                    kept = dropout(weights.w_hh, self.recurrent_dropout, self.training)
                    weights = weights._replace(w_hh=kept)
                read = turned(x, lengths) if suffix else x
                deltas: list[Deltas] | None = None if recording is None else []
                with torch.autocast(x.device.type, enabled=False) if self.in_full else nullcontext():
                    states, final = self._run(read, weights, start, padding, lengths, deltas)
                finals.append(final)
                outputs.append(turned(states, lengths) if suffix else states)
                if recording is not None:
                    passages.append(_passage(name, read, weights, start, states, deltas or []))
            x = torch.cat(outputs, dim=-1) if self.bidirectional else outputs[0]
            mask = None
            if self.dropout and self.training and layer < self.num_layers - 1:
                mask = dropout(torch.ones_like(x), self.dropout)
                x = x * mask
            if recording is not None:
                recording.layers.append(passages)
                recording.masks.append(mask)
        final_states = (
            finals[0] if places == 1 else tuple(torch.cat(each, dim=-3) for each in zip(*finals, strict=True))
        )
        returned = x.transpose(-3, -2)
        if recording is not None:
            recording.before, recording.inner = before, final_states
            final_states = recording.handed_out = tuple(one.clone() for one in final_states)
            recording.leave((returned, *final_states))
            for recordings in self._recordings:
                recordings.append(recording)
        return returned, final_states

    def _check(self, inputs: Tensor, lengths: Tensor | None) -> None:
        lead = () if self.models is None else (self.models,)
        arrived = tuple(inputs.shape)
        if len(arrived) != len(lead) + 3 or arrived[:-3] != lead or arrived[-1] != self.input_size or not arrived[-2]:
            wanted = ", ".join([*map(str, lead), "batch", "time", str(self.input_size)])
            raise UserError(f"the inputs must have the shape [{wanted}] and at least one step, got {arrived}")
        if lengths is not None and lengths.shape != inputs.shape[:-2]:
            raise UserError(
                f"inputs of shape {arrived} need lengths of shape {arrived[:-2]}, got {tuple(lengths.shape)}"
            )

    def _cast(self, x: Tensor) -> Tensor:
        """The inputs in the type to compute in: that of the weights, or of autocast, which leaves float64 alone."""
        device, dtype = x.device.type, self._first.dtype
        if torch.is_autocast_enabled(device) and dtype != torch.float64 and not self.in_full:
            dtype = torch.get_autocast_dtype(device)
        return x.to(dtype)

    def _initial(self, x: Tensor, state: States | None) -> States:
        places = self.num_layers * (2 if self.bidirectional else 1)
        shape = (*x.shape[:-3], places, x.shape[-2], self.hidden_size)
        if state is not None:
            if len(state) != self.states or any(one.shape != shape for one in state):
                arrived = ", ".join(str(tuple(one.shape)) for one in state)
                raise UserError(
                    f"the initial state must be {self.states} tensor(s) of shape {shape}, got {arrived or 'nothing'}"
                )
            return tuple(one.to(x.dtype) for one in state)
        if self.learned is not None:
            return tuple(one.to(x.dtype).expand(shape) for one in self.learned)
        return (x.new_zeros(shape),) * self.states

    def _run(
        self,
        x: Tensor,
        weights: Weights,
        initial: States,
        padding: Tensor | None,
        lengths: Tensor | None,
        deltas: list[Deltas] | None,
    ) -> tuple[Tensor, States]:
        """All states h of one layer and direction, and its final states; a kernel's deltas go into the list.

        Initial and final states keep the axis of layers and directions, of size 1.
        """
        fused = self._takes_fused(lengths)
        parts: Sequence[Tensor] = (x,)
        paddings: Sequence[Tensor | None] = (padding,)
        if self.window:
            parts = x.split(self.window, dim=-3)
            paddings = [None] * len(parts) if padding is None else padding.split(self.window, dim=-3)
        final = initial
        pieces: list[States] = []
        for part, absent in zip(parts, paddings, strict=True):
            if fused:
                states, final = self.fused(part, weights, initial)
                pieces.append((states,))
            else:
                left = None if deltas is None else Deltas()
                every = self.kernel(part, weights, tuple(one.squeeze(-3) for one in initial), absent, left)
                if deltas is not None and left is not None:
                    deltas.append(left)
                pieces.append(every)
                final = tuple(one[..., -1:, :, :] for one in every)
            if self.window:
                initial = tuple(one.detach() for one in final)
        whole = pieces[0] if len(pieces) == 1 else tuple(torch.cat(each, dim=-3) for each in zip(*pieces, strict=True))
        if lengths is not None:
            last = (lengths - 1).unsqueeze(-2).unsqueeze(-1)
            index = last.expand(*last.shape[:-1], self.hidden_size)
            final = tuple(one.gather(-3, index) for one in whole)
        return whole[0], final

    def _takes_fused(self, lengths: Tensor | None) -> bool:
        if self.backend == "auto":
            return self.prefers_fused and self.models is None and lengths is None
        if self.backend == "fused" and lengths is not None:
            raise UserError("backend 'fused' was asked for sequences of different lengths; use 'auto' or 'kernel'")
        return self.backend == "fused"

    def extra_repr(self) -> str:
        """Sizes, and what differs from the defaults."""
        parts = [str(self.input_size), str(self.hidden_size)]
        defaults: dict[str, object] = {"num_layers": 1, "bidirectional": False, "dropout": 0.0}
        defaults |= {"recurrent_dropout": 0.0, "window": 0, "models": None, "backend": "auto"}
        parts += [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join(parts)


def _passage(name: str, x: Tensor, weights: Weights, initial: States, states: Tensor, deltas: list[Deltas]) -> Passage:
    """A record that holds on to no graph, and to single precision at least: what is recovered from it runs long.

    `initial` has the axis of layers and directions, of size 1.
    """
    dtype = torch.promote_types(states.dtype, torch.float32)
    x, states = x.detach().to(dtype), states.detach().to(dtype)
    # The optimiser changes these in place before anybody looks.
    kept = weights.map(lambda weight: weight.detach().to(dtype, copy=True))
    start = tuple(one.detach().to(dtype, copy=True).squeeze(-3) for one in initial)
    return Passage(name, x, kept, start, states, deltas)
