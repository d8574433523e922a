"""The embedded Reber grammar as an automaton: strings are drawn from it, followed through it, and counted in it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

SYMBOLS = "BTPSXVE"
_INNER = (
    (("B", 1),),
    (("T", 2), ("P", 3)),
    (("S", 2), ("X", 4)),
    (("T", 3), ("V", 5)),
    (("X", 3), ("S", 6)),
    (("P", 4), ("V", 6)),
    (("E", 7),),
)
"""The Reber grammar: from each state the symbols that may come and the states that they lead to; 7 is its end.

Source: Reber (1967), drawn in Cleeremans, Servan-Schreiber & McClelland (1989), Finite state automata and simple
recurrent networks, Neural Computation 1(3), figure 2.
"""
START, OPENED = 0, 1
"""The states before a string and after its first symbol."""
_PART = len(_INNER) + 2
"""States of an embedded string behind its second symbol, of either: those of the inner grammar, and the last two."""


def _transitions() -> list[tuple[tuple[str, int], ...]]:
    """From each state of the embedded grammar the symbols that may come, all alike, and where they lead.

    A string is B, then T or P, a string of the Reber grammar, the same T or P again, and E; it leads back to START.
    """
    found: list[tuple[tuple[str, int], ...]] = [(("B", OPENED),), (("T", 2), ("P", 2 + _PART))]
    for symbol in "TP":
        first = len(found)
        found += [tuple((one, first + state) for one, state in choices) for choices in _INNER]
        found += [((symbol, first + len(_INNER) + 1),), (("E", START),)]
    return found


_TRANSITIONS = _transitions()
STATES = len(_TRANSITIONS)
DRAWN: Int[Tensor, "state bit"] = torch.tensor([[SYMBOLS.index(s) for s, _ in (c * 2)[:2]] for c in _TRANSITIONS])
"""The symbol that comes in a state for either value of a fair bit."""
REACHED: Int[Tensor, "state bit"] = torch.tensor([[state for _, state in (c * 2)[:2]] for c in _TRANSITIONS])
"""The state that it leads to."""
CHANCES: Float[Tensor, "state symbol"] = torch.zeros(STATES, len(SYMBOLS)).scatter_add_(
    1, DRAWN, torch.full((STATES, 2), 0.5)
)
"""The chance of every symbol in every state: 0, 1/2 or 1."""
REPEATING: tuple[int, int] = (OPENED + _PART - 1, OPENED + 2 * _PART - 1)
"""The states in which the string's second symbol must come again, a T and a P."""
_FOLLOWED: Int[Tensor, "state symbol"] = torch.zeros(STATES, len(SYMBOLS), dtype=torch.long).scatter_(1, DRAWN, REACHED)


def draw(
    state: Int[Tensor, " batch"], steps: int, generator: torch.Generator
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """Symbols of a stream of strings without a break, each from the state in which it comes.

    Args:
        state: Where each row begins.
        steps: How many symbols.
        generator: Gives a fair bit a symbol.

    Returns:
        The symbols, and the states after them.
    """
    bits = torch.randint(2, (steps, len(state)), generator=generator)
    symbols, states = torch.empty_like(bits), torch.empty_like(bits)
    for step, bit in enumerate(bits):
        symbols[step] = DRAWN[state, bit]
        states[step] = state = REACHED[state, bit]
    return symbols.T.contiguous(), states.T.contiguous()


def follow(symbols: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
    """The state after each symbol of rows that begin with a string; of what is no string, any state."""
    state, states = torch.full_like(symbols[:, 0], START), torch.empty_like(symbols)
    followed = _FOLLOWED.to(symbols.device)
    for step, symbol in enumerate(symbols.T):
        states[:, step] = state = followed[state, symbol]
    return states


def visits(steps: int, continual: bool) -> Float[Tensor, " state"]:
    """How often each state is expected among the first `steps` behind the first symbol of a string.

    The sum over t < steps of ``e P**t``, of the chain that stops at the end of a string or begins the next one.
    """
    chain = torch.zeros(STATES, STATES, dtype=torch.float64)
    chain.scatter_add_(1, REACHED, torch.full((STATES, 2), 0.5, dtype=torch.float64))
    if not continual:
        chain[:, START] = 0
    total, now = torch.zeros(STATES, dtype=torch.float64), torch.zeros(STATES, dtype=torch.float64)
    now[OPENED] = 1
    for _ in range(steps):
        total += now
        now = now @ chain
    return total


def optimum(steps: int, continual: bool) -> float:
    """The least cross-entropy of the next symbol, in bits, that is expected of rows of at most `steps` steps.

    A state with two symbols costs a bit and one with a single symbol nothing: the share of the former.
    """
    seen = visits(steps, continual)
    return float(seen[CHANCES.max(dim=1).values < 1].sum() / seen.sum())
