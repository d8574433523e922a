"""Attention: a mean of vectors, weighted by how well each fits a query.

    a_s = softmax over s of score(q, m_s),    c = sum_s a_s m_s.

Sources: additive scores v tanh(W q + U m_s): Bahdanau, Cho & Bengio (2015), Neural machine translation by jointly
learning to align and translate, ICLR; scores q W m_s, read after the recurrence: Luong, Pham & Manning (2015),
Effective approaches to attention-based neural machine translation, EMNLP.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Score = Literal["additive", "dot"]


class Attention(nn.Module, ABC):
    """What a query reads of a memory, and how much it looks at each of its vectors."""

    @abstractmethod
    def scores(
        self, queries: Float[Tensor, "batch asking query"], memory: Float[Tensor, "batch time size"]
    ) -> Float[Tensor, "batch asking time"]:
        """How well each vector fits each query."""

    def weights(
        self,
        queries: Float[Tensor, "batch asking query"],
        memory: Float[Tensor, "batch time size"],
        hidden: Bool[Tensor, "batch #asking time"] | None = None,
    ) -> Float[Tensor, "batch asking time"]:
        """The softmax of the scores over what is not hidden; of each query something must not be."""
        scores = self.scores(queries, memory)
        return (scores if hidden is None else scores.masked_fill(hidden, -torch.inf)).softmax(dim=-1)

    def forward(
        self,
        queries: Float[Tensor, "batch asking query"],
        memory: Float[Tensor, "batch time size"],
        hidden: Bool[Tensor, "batch #asking time"] | None = None,
    ) -> Float[Tensor, "batch asking size"]:
        """The weighted mean of the memory for each query."""
        return self.weights(queries, memory, hidden).to(memory.dtype) @ memory


class _Additive(Attention):
    def __init__(self, query: int, size: int) -> None:
        super().__init__()
        self.of_query, self.of_memory = nn.Linear(query, size), nn.Linear(size, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def scores(self, queries: Tensor, memory: Tensor) -> Tensor:
        together = self.of_query(queries).unsqueeze(2) + self.of_memory(memory).unsqueeze(1)
        return self.score(together.tanh()).squeeze(-1)


class _Dot(Attention):
    def __init__(self, query: int, size: int) -> None:
        super().__init__()
        self.of_query = nn.Linear(query, size, bias=False)

    def scores(self, queries: Tensor, memory: Tensor) -> Tensor:
        return self.of_query(queries) @ memory.mT / memory.shape[-1] ** 0.5


def attention(score: Score, query: int, size: int) -> Attention:
    """Attention of queries of one size over vectors of another."""
    return _Additive(query, size) if score == "additive" else _Dot(query, size)
