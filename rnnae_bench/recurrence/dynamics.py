"""The dynamics of a recurrence: its recurrent matrices, its Jacobians along a passage, its Lyapunov exponents.

J_t = ds_t/ds_(t-1) is the Jacobian of step t; the state s is h, or (h, c) side by side for an LSTM. All in float64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnae_bench.errors import UserError, require_positive
from rnnae_bench.recurrence.recording import Passage, Recording, padding_of
from rnnae_bench.recurrence.recovery import Transposed
from rnnae_bench.recurrence.stack import Stack

NORM_STEPS = 60
"""Vectors that `norm_by_products` takes at most."""

DENSE = 512
"""Numbers in a state up to which Jacobians are made as matrices."""

TURNING_STEPS = 1000
"""Steps over which a frame is carried at least, until it counts as turned to the leading directions."""


def recurrent_matrices(stack: Stack, name: str) -> dict[str, Float[Tensor, "*model hidden hidden"]]:
    """W_hh of one layer and direction (``l0``, ``l0_reverse``, ...), one matrix a gate, by the gate's name."""
    return stack.recurrent_matrices(stack.weights_of(name).map(lambda weight: weight.detach().double()))


def spectral_radius(matrix: Float[Tensor, "*axes n n"]) -> Float[Tensor, "*axes"]:
    """The largest absolute value of the eigenvalues."""
    return torch.linalg.eigvals(matrix).abs().amax(dim=-1)


def spectral_norm(matrix: Float[Tensor, "*axes n m"]) -> Float[Tensor, "*axes"]:
    """The matrix 2-norm, which is the largest singular value."""
    return torch.linalg.matrix_norm(matrix, ord=2)


Vectors = Float[Tensor, "*axes n"]


@torch.no_grad()
def norm_by_products(
    forwards: Callable[[Vectors], Vectors], backwards: Callable[[Vectors], Vectors], start: Vectors
) -> Float[Tensor, "*axes"]:
    """The largest singular value of linear maps of which there are products alone, to about ten digits.

    By bidiagonalisation with all vectors kept orthogonal (Golub & Kahan 1965, SIAM J. Numer. Anal. B 2, 205-224). The
    values rise from step to step; it ends where they do no more.

    Args:
        forwards: J v, map by map.
        backwards: J^T u.
        start: The first v, none of them zero.
    """

    def orthonormal(vector: Tensor, others: list[Tensor]) -> tuple[Tensor, Tensor]:
        for _ in range(2):
            for other in others:
                vector = vector - (vector * other).sum(-1, keepdim=True) * other
        length = vector.norm(dim=-1, keepdim=True)
        return vector / length.clamp_min(torch.finfo(vector.dtype).tiny), length.squeeze(-1)

    rights = [orthonormal(start, [])[0]]
    lefts: list[Tensor] = []
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    found = start.new_zeros(start.shape[:-1])
    for _ in range(min(start.shape[-1], NORM_STEPS)):
        left, alpha = orthonormal(forwards(rights[-1]), lefts)
        lefts.append(left)
        alphas.append(alpha)
        bands = torch.stack(alphas, dim=-1).diag_embed()
        if betas:
            bands = bands + torch.stack(betas, dim=-1).diag_embed(offset=1)
        before, found = found, torch.linalg.svdvals(bands)[..., 0]
        if bool((found - before <= 1e-11 * found).all()):
            break
        right, beta = orthonormal(backwards(left), rights)
        rights.append(right)
        betas.append(beta)
    return found


def _ignore() -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Linearization:
    """The Jacobians J_t = ds_t/ds_(t-1) along one recorded passage, t from 0; J_0 leads from the initial state."""

    tape: Transposed
    initial: Float[Tensor, "*model batch state"]
    """The state before the first step."""
    considered: Bool[Tensor, "*model time batch"]
    """The steps that are looked at: never the padding."""

    @classmethod
    def of(cls, recording: Recording, passage: Passage, last: int | None = None) -> "Linearization":
        """The linearisation around a passage, recomputed from its stored states.

        Args:
            recording: The forward pass.
            passage: One of its layers and directions.
            last: How many steps at the end of each sequence are looked at (at most); None for all.

        Raises:
            UserError: `last` is not above 0, or states of the passage are not finite.
        """
        if last is not None:
            require_positive(last=last)
        if not passage.states.isfinite().all():
            raise UserError(f"the states of {passage.name} are not finite; there is nothing to linearise around")
        exact = Passage(
            passage.name,
            passage.x.double(),
            passage.weights.map(Tensor.double),
            tuple(one.double() for one in passage.initial),
            passage.states.double(),
            [],
        )
        own = recording.steps
        considered = ~padding_of(own, passage.x.shape[-3]).squeeze(-1)
        if last is not None:
            considered &= padding_of(own - last, passage.x.shape[-3]).squeeze(-1)
        return cls(recording.stack.tape(exact), torch.cat(exact.initial, dim=-1), considered)

    @cached_property
    def span(self) -> range:
        """From the first to the last step that any sequence is looked at."""
        times = self.considered.movedim(-2, 0).flatten(1).any(dim=1).nonzero().flatten()
        return range(int(times[0]), int(times[-1]) + 1)

    def jacobian(self, t: int) -> Float[Tensor, "*model batch state state"]:
        """J_t, row i the derivatives of s_t[i]: the backward recurrence applied to every unit vector."""
        size = self.initial.shape[-1]
        units = torch.eye(size, dtype=self.initial.dtype, device=self.initial.device)
        units = units.reshape(size, *(1,) * (self.initial.dim() - 1), size)
        return self.tape.carry(t, units.expand(size, *self.initial.shape)).movedim(0, -2)

    @torch.no_grad()
    def largest_singular_values(self, advance: Callable[[], object] = _ignore) -> Float[Tensor, "*model time batch"]:
        """The 2-norm of every J_t: how much step t can stretch a state, and a gradient; NaN where none was asked for.

        Exact, from the dense Jacobian: O(batch * state^2) memory and O(batch * state^3) work a step. Of states of more
        than `DENSE` numbers by `norm_by_products`.

        Args:
            advance: Called after each step of `span`.
        """
        found = self.initial.new_full(self.considered.shape, torch.nan)
        for t in self.span:
            found[..., t, :] = spectral_norm(self.jacobian(t)) if self.is_dense else self._norm(t)
            advance()
        return found.masked_fill(~self.considered, torch.nan)

    @property
    def is_dense(self) -> bool:
        """Whether the state is small enough for Jacobians as matrices."""
        return self.initial.shape[-1] <= DENSE

    def _norm(self, t: int) -> Float[Tensor, "*model batch"]:
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(self.initial.shape, dtype=torch.float64, generator=generator).to(self.initial.device)

        def forwards(vectors: Tensor) -> Tensor:
            return self._forwards(t, vectors.unsqueeze(0)).squeeze(0)

        def backwards(vectors: Tensor) -> Tensor:
            return self._backwards(t, vectors.unsqueeze(0)).squeeze(0)

        return norm_by_products(forwards, backwards, start)

    @torch.no_grad()
    def lyapunov_exponents(
        self, count: int, advance: Callable[[], object] = _ignore
    ) -> Float[Tensor, "*model batch count"]:
        """The first `count` Lyapunov exponents of each sequence, in nats per step, falling: ln(sigma_i) / steps.

        sigma_i are the singular values of the product of all its J_t: how much the whole passage stretches states, and
        (transposed) gradients. For many steps they give the Lyapunov exponents; for the steps of one sequence they are
        called finite-time exponents.

        An orthonormal frame is carried by J_t^T from the last step to the first, made orthonormal again after every
        step by a QR decomposition, and ln |R_ii| is averaged (Benettin et al. 1980, Meccanica 15, 9-20 and 21-30; for
        recurrent networks: Engelken, Wolf & Abbott 2023, Phys. Rev. Research 5, 043044; Vogt et al. 2022, Front.
        Appl. Math. Stat. 8, 818799). The product and its transpose have the same singular values, so that backwards
        gives the spectrum that is usually computed forwards. A frame must first turn to the leading directions. A
        burn-in would use up the steps of a short sequence; instead the frame is carried to and fro, by J_t and by
        J_t^T, over `TURNING_STEPS` steps of the longest sequence at least. Exponents closer to each other than
        1 / `TURNING_STEPS` are told apart to about that much only.

        Args:
            count: How many, the largest first.
            advance: Called after each step of each passage of the frame, `frame_steps` times.

        Raises:
            UserError: there are fewer dimensions than exponents.
        """
        size = self.initial.shape[-1]
        require_positive(count=count)
        if count > size:
            raise UserError(f"{count} Lyapunov exponents of a state of {size} numbers; ask for at most {size}")
        # One frame for all sequences, so that their exponents differ by the sequences alone.
        noise = torch.randn(size, count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        frame = torch.linalg.qr(noise.to(self.initial.device)).Q.expand(*self.initial.shape, count)
        for _ in range(self._rounds):
            frame, _ = self._carried(frame, self.span, self._forwards, advance)
            frame, total = self._carried(frame, self.span[::-1], self._backwards, advance)
        return (total / self.considered.sum(dim=-2).unsqueeze(-1)).sort(dim=-1, descending=True).values

    @property
    def frame_steps(self) -> int:
        """Steps over which `lyapunov_exponents` carries its frame, to and fro."""
        return 2 * self._rounds * len(self.span)

    @property
    def _rounds(self) -> int:
        return max(2, math.ceil(TURNING_STEPS / int(self.considered.sum(dim=-2).max())))

    def _carried(
        self, frame: Tensor, steps: range, carry: Callable[[int, Tensor], Tensor], advance: Callable[[], object]
    ) -> tuple[Tensor, Tensor]:
        """The frame ``[*model batch state count]`` at the other end, and the sums of ln |R_ii|."""
        total = torch.zeros_like(frame[..., 0, :])
        for t in steps:
            q, r = torch.linalg.qr(carry(t, frame.movedim(-1, 0)).movedim(0, -1))
            looked_at = self.considered[..., t, :, None]
            frame = torch.where(looked_at.unsqueeze(-1), q, frame)
            total = torch.where(looked_at, total + r.diagonal(dim1=-2, dim2=-1).abs().log(), total)
            advance()
        return frame, total

    def _backwards(self, t: int, vectors: Tensor) -> Tensor:
        return self.tape.carry(t, vectors)

    def _forwards(self, t: int, vectors: Tensor) -> Tensor:
        """J_t times vectors: `carry` is linear, and the transpose of a linear map is its gradient."""
        with torch.enable_grad():
            anywhere = torch.zeros_like(vectors).requires_grad_()
            return torch.autograd.grad(self.tape.carry(t, anywhere), anywhere, vectors)[0]
