"""What a command prints: its answer alone on standard output, and nothing that a terminal would obey."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnae_bench.cli import COMMANDS, main
from rnnae_bench.cli.leaderboard import ACTIONS
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.records.document import record_from
from rnnae_bench.records.store import Store
from rnnae_bench.report.tables import comma_separated, markdown

EVIL = "\x1b]0;owned\x07\x1b[2J\r\u202e[red]x[/b] $\\frac <b>"


@pytest.fixture
def evil(tmp_path, make_document):
    """A folder of five records that say what a terminal, rich, a spreadsheet or Markdown would obey."""
    store = Store(tmp_path / "runs")
    for seed in range(5):
        record = make_document(
            0.5, task=EVIL, variant=EVIL, model=EVIL, seed=seed, overrides={EVIL: EVIL}, id=f"{seed:016x}"
        )
        record["primary"] |= {"metric": EVIL, "floor_baseline": EVIL}
        record["metrics"]["test"] = {EVIL: 0.5, "=1+1": 1.0}
        record["baselines"] = {EVIL: {EVIL: 0.125}}
        record["environment"] |= {"device": EVIL, "precision": EVIL}
        if seed == 4:
            record |= {"status": "error", "failure": {"message": EVIL, "step": None, "traceback": EVIL}}
        store.write(record_from(record), {})
    (store.folder / f"{EVIL[:12].replace('/', '')}.json").write_text("{")
    return str(store.folder)


@pytest.mark.parametrize(
    "command",
    [
        ["results", "{}"],
        ["results", "{}", "--csv"],
        ["results", "{}", "--markdown"],
        ["compare", "0000000000000000", "0000000000000001", "--from", "{}"],
        ["leaderboard", "show", "{}"],
        ["leaderboard", "show", "{}", "--markdown"],
        ["leaderboard", "submit", "{}", "--dry-run"],
        ["query", "from trials", "--from", "{}"],
        ["query", "select * from trials", "--from", "{}", "--csv"],
        ["query", "select * from '\x1b[2J'", "--from", "{}"],
        ["reproduce", "0000000000000000", "--from", "{}"],
        ["sweep", "--task", "copy:smoke", "--model", "gru", "--collect", "--out", "{}"],
        ["run", "--task", "\x1b[2J", "--model", "gru"],
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_nothing_reaches_the_terminal_that_it_would_obey(evil, capsys, command):
    main([word.format(evil) if word == "{}" else word for word in command])
    said = capsys.readouterr()
    assert said.out + said.err
    assert all(one.isprintable() or one == "\n" for one in said.out + said.err)


def test_a_heading_and_a_cell_are_text_in_markdown(make_record):
    record = make_record(task="a*b_c`d[e](f)|g<h>~i&amp;$j$")
    (heading, *_) = markdown([record]).splitlines()
    assert heading.startswith(r"### a\*b\_c\`d\[e](f)\|g\<h>\~i\&amp;\$j\$:standard")


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_csv_is_a_formula(tmp_path, capsys, make_record, formula):
    record = make_record(-0.5, model=formula, metrics={"test": {formula: -0.25}, "validation": {}})
    (row,) = csv.DictReader(io.StringIO(comma_separated([record])))
    assert row["model"].startswith("'")
    assert row["value"] == "-0.5"
    assert not any(name.startswith(("=", "+", "-", "@", "\t", "\r")) for name in row)
    Store(tmp_path).write(record, {})
    assert main(["query", "select model, value from trials", "--from", str(tmp_path), "--csv"]) == 0
    (_, cells) = csv.reader(io.StringIO(capsys.readouterr().out))
    assert cells[0].startswith("'")
    assert cells[1] == "-0.5"


@pytest.mark.parametrize("command", [[one] for one in COMMANDS] + [["leaderboard", one] for one in ACTIONS])
def test_help_says_a_percentage_once(capsys, command):
    with contextlib.suppress(SystemExit):
        main([*command, "--help"])
    assert "%%" not in capsys.readouterr().out


def test_what_is_printed_aside_goes_to_standard_error(capfd):
    with plugins_aside():
        print("from Python")
        os.write(1, b"from C\n")
        subprocess.run([sys.executable, "-c", "print('from a process')"], check=True)
    print("the answer")
    said = capfd.readouterr()
    assert said.out == "the answer\n"
    assert sorted(said.err.splitlines()) == ["from C", "from Python", "from a process"]


@pytest.mark.parametrize("command", [["list", "--json"], ["list", "--help"], ["query", "--columns"]])
def test_a_full_disk_is_one_line_and_no_success(tmp_path, command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rnnae_bench", *command], stdout=full, stderr=subprocess.PIPE, cwd=tmp_path
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "rnnae-bench: error: cannot write to standard output: No space left on device\n"


def test_a_character_that_the_terminal_lacks_is_written_out(tmp_path, make_record):
    Store(tmp_path / "runs").write(make_record(model="gru→"), {})
    done = subprocess.run(
        [sys.executable, "-m", "rnnae_bench", "results"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    assert rb"gru\u2192" in done.stdout


def test_json_of_records_is_plain(evil, capsys):
    assert main(["results", evil, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["model"] == EVIL
