"""What an exam is made of: checks that are asked one by one, each with a verdict and what was seen."""

import contextlib
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

import lightning
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.options.limits import TooMuch, bounded
from rnnae_bench.training.lightning import quiet
from rnnae_bench.trial.process_state import fresh_process

MEMORY = 8 * 2**30
"""Bytes that a check may take."""

SECONDS = 60.0
"""Of wall time that a check may take, unless it is told otherwise."""

Examinee = TypeVar("Examinee")
Outcome = Literal["passed", "failed", "left out"]


class NotAsked(Exception):
    """A check does not apply; the message says why."""


@dataclass(frozen=True)
class Verdict:
    """What came of a check.

    Args:
        check: Its name.
        question: What it asks, in a line.
        outcome: ``left out`` where it does not apply, or rests on one that failed.
        evidence: What was seen, or why it was left out.
        seconds: Of wall time.
    """

    check: str
    question: str
    outcome: Outcome
    evidence: str
    seconds: float


@dataclass(frozen=True)
class Check(Generic[Examinee]):
    """A question that an exam asks.

    Args:
        function: Gives what was seen, in a line; raises an `AssertionError` that says what is wrong and what the
            contract asks for, or `NotAsked`. Its name is the check's, the first line of its docstring the question.
        needs: Functions of checks without which this one says nothing: it is left out where one of them failed.
        is_slow: Whether it takes seconds, so that an exam may go without it.
    """

    function: Callable[[Examinee], str]
    needs: tuple[Callable[[Examinee], str], ...] = ()
    is_slow: bool = False

    @property
    def name(self) -> str:
        """What it is called."""
        return self.function.__name__.replace("_", " ")

    @property
    def question(self) -> str:
        """What it asks."""
        return (self.function.__doc__ or "").partition("\n")[0]

    def __str__(self) -> str:
        return self.name

    def ask(self, examinee: Examinee, seconds: float = SECONDS) -> Verdict:
        """The verdict, in a process that is as if fresh, and within limits of time and memory."""
        begun = time.perf_counter()
        try:
            with _aside(), bounded(f"the check '{self.name}'", MEMORY, seconds):
                outcome, evidence = "passed", self.function(examinee)
        except NotAsked as reason:
            outcome, evidence = "left out", str(reason)
        except (AssertionError, UserError, TooMuch) as error:
            outcome, evidence = "failed", in_a_line(error) or located(error)
        except (Exception, SystemExit) as error:
            outcome, evidence = "failed", located(error)
        return Verdict(self.name, self.question, outcome, evidence, time.perf_counter() - begun)  # type: ignore[arg-type]


def examined(
    checks: Sequence[Check[Examinee]],
    examinee: Examinee,
    seconds: float = SECONDS,
    tell: Callable[[str], None] = lambda name: None,
) -> list[Verdict]:
    """The verdicts of an exam, in the order of its checks.

    Args:
        checks: Each stands after those that it needs.
        examinee: Who is examined.
        seconds: Of wall time that each may take.
        tell: Is told the name of each check as it begins.
    """
    found: list[Verdict] = []
    lost: dict[str, str] = {}
    for check in checks:
        tell(check.name)
        needed = [one.__name__ for one in check.needs if one.__name__ in lost]
        if needed:
            verdict = Verdict(check.name, check.question, "left out", f"rests on '{lost[needed[0]]}'", 0.0)
        else:
            verdict = check.ask(examinee, seconds)
        if needed or verdict.outcome == "failed":
            lost[check.function.__name__] = lost[needed[0]] if needed else check.name
        found.append(verdict)
    return found


def require_passed(verdicts: Sequence[Verdict]) -> None:
    """Raise `AssertionError` with what is wrong, where a check failed."""
    failed = [one.evidence for one in verdicts if one.outcome == "failed"]
    if failed:
        raise AssertionError("; and ".join(failed))


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Within, nothing is said, and what is changed of the process is put back."""
    raised: BaseException | None = None
    threads = torch.get_num_threads()
    with fresh_process(), isolate_rng(include_cuda=False), quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except BaseException as error:  # which isolate_rng lets pass without putting anything back
            raised = error
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    if raised is not None:
        raise raised


_OURS = (
    *(str(Path(module.__file__ or "").parent) for module in (torch, lightning)),
    str(Path(__file__).parents[1]),
)
"""Where an error's line is not the author's."""


def located(error: BaseException) -> str:
    """An error in a line, with the author's line that it comes from."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(_OURS)]
    place = f", in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {in_a_line(error)}{place}"
