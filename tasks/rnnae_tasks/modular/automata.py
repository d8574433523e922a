"""What is tracked: automata with few states, each a group or arithmetic modulo five, and their random walks."""

import itertools
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

MODULUS = 5
PLUS, MINUS, TIMES = 5, 6, 7
"""The operators' tokens; a digit is its own."""


class Automaton:
    """A walk over states, of which a value is asked for after each of its moves.

    A move is one token, or, but for the first, `tokens_per_move` of them.
    """

    tokens: int
    """How many tokens there are."""
    values: int
    """How many values there are."""
    tokens_per_move: int = 1

    @abstractmethod
    def draw(self, count: int, length: int, generator: torch.Generator) -> Int[Tensor, "count time"]:
        """Random tokens, all moves alike."""

    @abstractmethod
    def run(self, tokens: Int[Tensor, "count time"]) -> Int[Tensor, "count time"]:
        """The value after each token; where a move is not complete yet, after the last that is."""

    @property
    @abstractmethod
    def moves(self) -> tuple[int, int]:
        """How many first moves there are, and how many after it; each is as likely as the others."""

    @property
    @abstractmethod
    def walk(self) -> Float[Tensor, "state state"]:
        """The chances of a move from state to state."""

    @property
    @abstractmethod
    def first(self) -> Float[Tensor, " state"]:
        """The chances of the states after the first move."""

    @property
    def value_of(self) -> Int[Tensor, " state"]:
        """The value of each state."""
        return torch.arange(self.values)


@dataclass(frozen=True)
class Cycle(Automaton):
    """Positions on a circle of five: a token is a step to the left (0), none (1), or one to the right (2)."""

    tokens = 3
    values = MODULUS

    def draw(self, count: int, length: int, generator: torch.Generator) -> Int[Tensor, "count time"]:
        """Steps, all three alike."""
        return torch.randint(3, (count, length), generator=generator)

    def run(self, tokens: Int[Tensor, "count time"]) -> Int[Tensor, "count time"]:
        """The position, from 0 at the start."""
        return (tokens - 1).cumsum(1) % MODULUS

    @property
    def moves(self) -> tuple[int, int]:
        """Three steps each."""
        return 3, 3

    @property
    def walk(self) -> Float[Tensor, "state state"]:
        """To each neighbour and to itself alike."""
        eye = torch.eye(MODULUS, dtype=torch.float64)
        return (eye + eye.roll(1, 1) + eye.roll(-1, 1)) / 3

    @property
    def first(self) -> Float[Tensor, " state"]:
        """One step from 0."""
        return self.walk[0]


@dataclass(frozen=True)
class Permutations(Automaton):
    """All permutations of a few points, or all even ones; a token is one, and the value the product of all so far.

    They are numbered in the order of their one-line forms, where a permutation p takes the point i to p[i]. A product
    takes its factors from left to right: p, then q.

    Args:
        points: How many.
        even: Only those that are a product of an even number of swaps.
    """

    points: int
    even: bool = False

    @cached_property
    def elements(self) -> Int[Tensor, "element point"]:
        """The one-line form of each."""
        forms = torch.tensor([*itertools.permutations(range(self.points))])
        above, below = torch.triu_indices(self.points, self.points, 1)
        swaps = (forms[:, above] > forms[:, below]).sum(1)
        return forms[swaps % 2 == 0] if self.even else forms

    @cached_property
    def table(self) -> Int[Tensor, "element element"]:
        """The number of the product of each two: row, then column."""
        elements = self.elements
        places = self.points ** torch.arange(self.points - 1, -1, -1)
        products = elements[:, elements].transpose(0, 1)  # q[p[i]], at p, q, i
        return torch.searchsorted((elements * places).sum(1), (products * places).sum(2))

    @property
    def tokens(self) -> int:  # type: ignore[override]
        """One for each permutation."""
        return len(self.elements)

    @property
    def values(self) -> int:  # type: ignore[override]
        """One for each permutation."""
        return len(self.elements)

    def draw(self, count: int, length: int, generator: torch.Generator) -> Int[Tensor, "count time"]:
        """Permutations, all alike."""
        return torch.randint(self.tokens, (count, length), generator=generator)

    def run(self, tokens: Int[Tensor, "count time"]) -> Int[Tensor, "count time"]:
        """The product of all so far."""
        table, products = self.table, [tokens[:, 0]]
        for token in tokens[:, 1:].unbind(1):
            products.append(table[products[-1], token])
        return torch.stack(products, 1)

    @property
    def moves(self) -> tuple[int, int]:
        """All permutations each."""
        return self.tokens, self.tokens

    @property
    def walk(self) -> Float[Tensor, "state state"]:
        """To all alike."""
        return torch.full((self.values, self.values), 1 / self.values, dtype=torch.float64)

    @property
    def first(self) -> Float[Tensor, " state"]:
        """All alike."""
        return self.walk[0]


@dataclass(frozen=True)
class Arithmetic(Automaton):
    """Digits modulo five with plus, minus and times between them, times first: the value of the expression so far.

    A state is what the finished terms come to, times five, and the term that a times may still change.
    """

    tokens = 8
    values = MODULUS
    tokens_per_move = 2

    def draw(self, count: int, length: int, generator: torch.Generator) -> Int[Tensor, "count time"]:
        """Digits, all alike, with operators between them, all alike."""
        digits = torch.randint(MODULUS, (count, length), generator=generator)
        operators = torch.randint(PLUS, TIMES + 1, (count, length), generator=generator)
        return torch.where(torch.arange(length) % 2 == 0, digits, operators)

    def run(self, tokens: Int[Tensor, "count time"]) -> Int[Tensor, "count time"]:
        """The value up to the last digit."""
        finished, term = torch.zeros_like(tokens[:, 0]), tokens[:, 0]
        values = [term]
        for operator, digit in zip(tokens[:, 1::2].unbind(1), tokens[:, 2::2].unbind(1), strict=False):
            finished, term = moved(finished, term, operator, digit)
            values += [values[-1], (finished + term) % MODULUS]
        return torch.stack(values, 1)

    @property
    def moves(self) -> tuple[int, int]:
        """A digit; then an operator with a digit."""
        return MODULUS, 3 * MODULUS

    @property
    def walk(self) -> Float[Tensor, "state state"]:
        """By each operator and digit alike."""
        grid = [torch.arange(size) for size in (MODULUS, MODULUS, 3, MODULUS)]
        finished, term, operator, digit = torch.meshgrid(*grid, indexing="ij")
        after = moved(finished, term, operator + PLUS, digit)
        chances = torch.zeros(MODULUS**2, MODULUS**2, dtype=torch.float64)
        start, end = finished * MODULUS + term, after[0] * MODULUS + after[1]
        share = torch.full(start.shape, 1 / (3 * MODULUS), dtype=torch.float64)
        return chances.index_put((start, end), share, accumulate=True)

    @property
    def first(self) -> Float[Tensor, " state"]:
        """Nothing finished, and a digit."""
        return torch.cat([torch.full((MODULUS,), 1 / MODULUS), torch.zeros(MODULUS**2 - MODULUS)]).double()

    @property
    def value_of(self) -> Int[Tensor, " state"]:
        """Finished terms and the open one."""
        state = torch.arange(MODULUS**2)
        return (state // MODULUS + state % MODULUS) % MODULUS


def moved(finished: Tensor, term: Tensor, operator: Tensor, digit: Tensor) -> tuple[Tensor, Tensor]:
    """Finished terms and the open one, after an operator with a digit; all of one shape, modulo five."""
    times = operator == TIMES
    new = torch.where(operator == MINUS, -digit, digit) % MODULUS
    return torch.where(times, finished, (finished + term) % MODULUS), torch.where(times, term * digit % MODULUS, new)


AUTOMATA: dict[str, Automaton] = {
    "cycle": Cycle(),
    "arithmetic": Arithmetic(),
    "S3": Permutations(3),
    "A5": Permutations(5, even=True),
    "S5": Permutations(5),
}
"""By name: two that commute or nearly, a small group that does not, and two that are not solvable."""


def guesses(automaton: Automaton, moves: int, sequences: int) -> tuple[Float[Tensor, " move"], Float[Tensor, " move"]]:
    """How often the best guess is right after each move, without and with a table of what was seen in training.

    Without, all that is known is how many moves there were. With it, the longest beginning that was met in training is
    looked up, and what is guessed is what has become of it since. Beginnings of m moves are all alike, n of them, so
    that each is met in s random sequences with a chance of 1 - (1 - 1/n)^s; and where one was met, so was all that it
    begins with.

    Args:
        automaton: What is tracked.
        moves: How many.
        sequences: How many were seen in training.
    """
    first, later = automaton.moves
    size = torch.tensor([float(first) * float(later) ** move for move in range(moves)], dtype=torch.float64)
    met = -torch.expm1(sequences * torch.log1p(-1 / size.clamp(max=1e300)))
    states = [automaton.first]
    for _ in range(moves - 1):
        states.append(states[-1] @ automaton.walk)
    values = one_hot(automaton.value_of, automaton.values).double()
    blind = torch.stack([(state @ values).max() for state in states])
    looked_up = met.clone()
    since = values
    for ago in range(1, moves):
        since = automaton.walk @ since  # the values' chances, so many moves after each state
        right = since.max(1).values
        longest = met[:-ago] - met[1 : moves - ago + 1]
        looked_up[ago:] += longest * torch.stack([state @ right for state in states[:-ago]])
    return blind, looked_up + (1 - met[0]) * blind
