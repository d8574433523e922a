"""The autoencoder whose codes are entries of a learned codebook.

Source: van den Oord, Vinyals & Kavukcuoglu (2017), Neural discrete representation learning, NeurIPS: equation 3, and
the codebook as moving averages of appendix A.1.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import UserError, require_choice, require_not_negative, require_positive
from rnnae_bench.models.dense import ACTIVATIONS, Activation, dense_layers, initialized
from rnnae_bench.models.flat_autoencoder import FlatAutoencoder, Output, require_sizes
from rnnae_bench.training.loss_terms import Loss


class Codebook(nn.Module):
    """Vectors that stand for others: the nearest takes the place of each.

    They begin at vectors of the first batch in training. From there on they are moving averages of the vectors that
    they stood for, sums over counts, which is k-means by the batch; one that stands for less than a hundredth of its
    share is set anew, at a vector of the batch. Without a `decay` they are weights that a loss has to move. Nearest
    entries and averages are computed in the precision of the entries, and from the vectors of all devices.

    Args:
        entries: How many.
        size: Numbers in each.
        decay: Of the averages, a batch; None makes weights of the entries.
    """

    entries: Tensor
    sums: Tensor
    counts: Tensor
    begun: Tensor

    def __init__(self, entries: int, size: int, decay: float | None = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))
        if decay is None:
            self.entries = nn.Parameter(torch.randn(entries, size))
        else:
            self.register_buffer("entries", torch.randn(entries, size))
            self.register_buffer("sums", torch.zeros(entries, size))
            self.register_buffer("counts", torch.zeros(entries))

    def nearest(self, vectors: Float[Tensor, "*rows size"]) -> Int[Tensor, "*rows"]:
        """Which entry is nearest to each vector."""
        with torch.no_grad(), torch.autocast(vectors.device.type, enabled=False):
            return torch.cdist(vectors.to(self.entries.dtype), self.entries).argmin(-1)

    def forward(self, vectors: Float[Tensor, "*rows size"]) -> Float[Tensor, "*rows size"]:
        """The entry that stands for each vector, in the precision of the entries; in training, before it moves.

        On several devices the first axis is the batch, and all of them must come here together.
        """
        if not self.training or (self.begun and self.decay is None):
            return self.entries[self.nearest(vectors)]
        every = _of_all_devices(vectors.detach().to(self.entries.dtype)).flatten(0, -2)
        if not self.begun:
            self._begin(every)
        found = self.entries[self.nearest(vectors)]
        if self.decay is not None:
            self._move(every, self.nearest(every), self.decay)
        return found

    @torch.no_grad()
    def _begin(self, vectors: Float[Tensor, "rows size"]) -> None:
        # As drawn at construction, the entries keep those apart that begin at the same vector.
        self.entries.mul_(1e-3 * vectors.std()).add_(_some(vectors, len(self.entries)))
        self.begun.fill_(True)
        if self.decay is not None:
            self.sums.copy_(self.entries)
            self.counts.fill_(1.0)

    @torch.no_grad()
    def _move(self, vectors: Float[Tensor, "rows size"], chosen: Int[Tensor, " rows"], decay: float) -> None:
        own = nn.functional.one_hot(chosen, len(self.entries)).to(vectors.dtype)
        self.counts.lerp_(own.sum(0), 1 - decay)
        with torch.autocast(vectors.device.type, enabled=False):
            self.sums.lerp_(own.mT @ vectors, 1 - decay)
        idle = self.counts < 0.01 * len(vectors) / len(self.entries)
        fresh = _some(vectors, len(self.entries))
        self.counts.copy_(torch.where(idle, 1.0, self.counts))
        self.sums.copy_(torch.where(idle.unsqueeze(1), fresh, self.sums))
        self.entries.copy_(self.sums / self.counts.unsqueeze(1))


def _of_all_devices(vectors: Float[Tensor, "batch *axes"]) -> Float[Tensor, "whole_batch *axes"]:
    """The rows of the whole batch, of which every device has each so manieth; those given where there is one device."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return vectors
    found = [torch.empty_like(vectors) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, vectors.contiguous())
    return torch.stack(found, dim=1).flatten(0, 1)


def _some(vectors: Float[Tensor, "rows size"], count: int) -> Float[Tensor, "count size"]:
    """So many of the vectors, from the first on and again from there; a batch is in an order of chance as it is."""
    return vectors[torch.arange(count, device=vectors.device) % len(vectors)]


class VectorQuantizedAutoencoder(FlatAutoencoder):
    """VQ-VAE (van den Oord et al. 2017): each of the M vectors of a code is one of K entries of a codebook.

    The encoder gives M vectors of k/M numbers each, of which the nearest entry e takes the place; the decoder reads the
    entries. The gradient of the decoder's input goes on to the encoder unchanged (straight through), and the loss of a
    row is |x - y|^2 + commitment sum |z - e|^2 with the entries held. With ``averages`` these move as averages of what
    they stood for; with ``loss`` they are weights, and the loss has sum |z - e|^2 with the vectors held, too (equation
    3). The terms, ``commitment`` and ``codebook``, are divided by the numbers of a row, as the squared error is. It has
    the weights of `dense_ae` with a linear code, and K k/M numbers in the codebook; the state is the code's k numbers,
    and what they tell are M log2 K bits.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 32 where it sets no limit.
        vectors: Into how many vectors a code is cut, M; None: of four numbers each where that comes out even, or one.
        entries: Of the codebook, K.
        hidden_sizes: Units of each layer between input and code.
        activation: What follows each hidden layer.
        commitment: Factor of the second term.
        codebook: What moves the entries: averages, or a term of the loss.
        decay: Of the averages, a batch.
        output: What ends the decoder; None: a sigmoid for images, and nothing for other numbers.
        optimization: How to train.
    """

    bibtex = ("vandenoord2017",)

    def __init__(
        self,
        spec: TaskSpec,
        code_size: Annotated[int | None, Range(4, 128, log=True)] = None,
        vectors: int | None = None,
        entries: Annotated[int, Range(16, 1024, log=True)] = 128,
        hidden_sizes: tuple[int, ...] = (256,),
        activation: Activation = "relu",
        commitment: float = 0.25,
        codebook: Literal["averages", "loss"] = "averages",
        decay: float = 0.99,
        output: Output | None = None,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_sizes(hidden_sizes=hidden_sizes)
        require_choice(ACTIVATIONS, activation=activation)
        require_positive(entries=entries)
        require_not_negative(commitment=commitment)
        require_choice(("averages", "loss"), codebook=codebook)
        if not 0 <= decay < 1:
            raise UserError(f"decay is {decay}; it must be at least 0 and below 1")
        super().__init__(spec, code_size, output, optimization, otherwise=32)
        cut = vectors if vectors is not None else (1 if self.code_size % 4 else self.code_size // 4)
        require_positive(vectors=cut)
        if self.code_size % cut:
            raise UserError(f"vectors is {cut}; it must divide code_size, which is {self.code_size}")
        self.commitment = commitment
        self.codebook = Codebook(entries, self.code_size // cut, decay if codebook == "averages" else None)
        sizes = (self.numbers, *hidden_sizes)
        last = initialized(nn.Linear(sizes[-1], self.code_size))
        self.encoder = nn.Sequential(nn.Flatten(), *dense_layers(sizes, activation), last)
        upwards = (self.code_size, *sizes[:0:-1])
        back = initialized(nn.Linear(upwards[-1], self.numbers))
        self.decoder = nn.Sequential(*dense_layers(upwards, activation), back, *self.ending())

    def stackable(self) -> str | None:
        """Refuses: the codebook begins at the first batch, and may move with each."""
        return "its codebook begins at the first batch, in the forward pass"

    def quantised(self, continuous: Float[Tensor, "batch code"]) -> Float[Tensor, "batch code"]:
        """The entries in the place of the vectors of each code."""
        return self.codebook(continuous.unflatten(1, (-1, self.codebook.entries.shape[1]))).flatten(1)

    def encode(self, inputs: Float[Tensor, "batch *input"]) -> Float[Tensor, "batch code"]:
        """The entries that stand for each row; gradients pass them straight through."""
        continuous = self.encoder(inputs)
        return continuous + (self.quantised(continuous) - continuous).detach()

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch *input"]:
        """The row of each code."""
        return self.decoder(code)

    def training_loss(self, batch: Batch) -> Loss:
        """The task's loss, and beside it how far the encoder is from its entries."""
        continuous = self.encoder(batch.inputs)
        entries = self.quantised(continuous)
        prediction = self.decode(continuous + (entries - continuous).detach())
        terms = {"commitment": self.commitment * _apart(continuous, entries.detach())}
        if self.codebook.decay is None:
            terms["codebook"] = _apart(continuous.detach(), entries)
        return self.penalised(prediction, batch, **terms)


def _apart(continuous: Float[Tensor, "batch code"], entries: Float[Tensor, "batch code"]) -> Float[Tensor, ""]:
    """The mean over the rows of sum |z - e|^2."""
    return (continuous - entries).square().sum(1).mean()
