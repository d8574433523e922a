"""The pages of the documentation, and how what they show is run."""

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from rnnae_bench.cli import main
from rnnae_bench.contracts.card import Card, Variant

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/*.md"))]
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>not run|output of): (?P<said>[^>]+) -->\n)?^```(?P<language>\w+)\n(?P<content>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Page:
    """One page, by its path from the root of the repository."""

    name: str

    @property
    def text(self) -> str:
        return (ROOT / self.name).read_text(encoding="utf-8")

    @property
    def runnable(self) -> Iterator[re.Match[str]]:
        """Blocks of commands and of Python that are not marked as not run, in the order of the page."""
        for block in BLOCK.finditer(self.text):
            if block["language"] in ("console", "python") and block["mark"] is None:
                yield block

    @property
    def outputs(self) -> Iterator[tuple[str, str]]:
        """Commands, and what the page says that they print."""
        for block in BLOCK.finditer(self.text):
            if block["mark"] == "output of":
                yield block["said"], block["content"]

    def run(self, patch: pytest.MonkeyPatch) -> dict[str, Any]:
        """Run all of it, in the current folder; trials are shorter than their cards say. What its Python defines."""
        if "records of the leaderboard" in self.text:
            shutil.copytree(ROOT / "leaderboards" / "records", "runs")
        namespace: dict[str, Any] = {}
        if not any("rnnae-bench sweep" in block["content"] for block in self.runnable):
            shorten(patch)
        for block in self.runnable:
            if block["language"] == "python":
                exec(compile(block["content"], self.name, "exec"), namespace)
            else:
                for line in block["content"].splitlines():
                    prompt, *command = shlex.split(line)
                    assert prompt == "$", line
                    output(command)
        return namespace


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Have every variant take a twentieth of its steps: in this process, not in the workers of a sweep."""
    variant = Card.variant

    def shorter(card: Card, name: str) -> Variant:
        found = variant(card, name)
        steps = max(40, found.protocol.max_steps // 20)
        every = min(found.protocol.evaluate_every, steps)
        return replace(found, protocol=replace(found.protocol, max_steps=steps, evaluate_every=every))

    patch.setattr(Card, "variant", shorter)


def output(command: list[str]) -> str:
    """What a command prints; it must end with code 0."""
    program, *arguments = command
    assert program == "rnnae-bench", command
    said = StringIO()
    with redirect_stdout(said):
        try:
            code = main(arguments)
        except SystemExit as left:
            code = left.code
    assert code == 0, f"{shlex.join(command)}: {said.getvalue()}"
    return said.getvalue()


@pytest.fixture
def page() -> Callable[[str], Page]:
    """A page by its path."""
    return Page


@pytest.fixture
def printed() -> Callable[[list[str]], str]:
    """What a command prints."""
    return output


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`any_page` is every page, `running_page` every one that shows what can be run."""
    for name, chosen in (("any_page", lambda page: True), ("running_page", lambda page: any(page.runnable))):
        if name in metafunc.fixturenames:
            pages = [page for page in map(Page, PAGES) if chosen(page)]
            metafunc.parametrize(name, pages, ids=[page.name for page in pages])
