"""The house is easy to see: arrows between rooms run one way, the rooms are few, and each says what lives in it."""

import re
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import rnnae_bench

ROOT = Path(__file__).parents[1]
BENCH = Path(rnnae_bench.__file__).parent
ROOMS = sorted(path.parent for path in BENCH.rglob("__init__.py"))


def layers():
    """The rooms of the package from the top down, as pyproject.toml gives them to import-linter."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    (contract,) = (one for one in tools["importlinter"]["contracts"] if one["type"] == "layers")
    named = [re.sub("[()]", "", layer).split(" | ") for layer in contract["layers"]]
    return [rooms for layer in named if (rooms := {room for room in layer if list(BENCH.glob(f"{room}*"))})]


def test_arrows_run_one_way(capsys):
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS, (
        capsys.readouterr().out
    )


def test_contributing_lists_the_rooms_in_their_order():
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where things are")[2].partition("\nBeside it")[0]
    rooms = [re.findall(r"`(\w+)(?:/|\.py)`", line.split("|")[1]) for line in table.splitlines() if "|" in line]
    rows = [row for row in rooms if row]
    assert [set(row) for row in rows] == layers()


def test_the_root_is_seen_at_a_glance():
    rooms = {path.name.removesuffix(".py") for path in BENCH.iterdir() if not path.name.startswith(("_", "."))}
    assert len(rooms - {"py.typed"}) <= 20


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(BENCH.parent)))
def test_each_room_says_what_lives_there(room):
    assert re.match(r'"""[A-Z`r][^"]{20,}\.', (room / "__init__.py").read_text())
    assert any(path.suffix == ".py" for path in room.iterdir() if path.name != "__init__.py")
