"""One spelling for one thing, in the help of every command; what was spelled otherwise is still taken."""

import json

import pytest

from rnnae_bench.cli import COMMANDS, main
from rnnae_bench.cli.completing import parser_for
from rnnae_bench.cli.leaderboard import ACTIONS
from rnnae_bench.cli.probe import opening
from rnnae_bench.sweeps.config import parser as sweep_parser

READERS = [("results",), ("compare",), ("query",), ("reproduce",)]
READERS += [("leaderboard", action) for action in ("build", "show", "submit", "validate", "push")]
WRITERS = [("run",), ("sweep",), ("horizon",), ("reproduce",), ("truth",), ("probe",)]
WRITERS += [("leaderboard", action) for action in ("build", "submit", "pull")]
EVERY = [(command,) for command in COMMANDS if command not in ("leaderboard", "plugin")]
EVERY += [("leaderboard", action) for action in ACTIONS] + [("plugin", "new")]

ALIKE = {
    "data-seed": "--data-seed",
    "dataseed": "--data-seed",
    "checkpoint": "--checkpoint-every",
    "records": "--from",
    "source": "--from",
    "folder": "--from",
    "output": "--out",
    "output-dir": "--out",
    "dest": "--out",
    "loggers": "--logger",
    "timeout": "--time-limit",
    "num-seeds": "--seeds",
}
"""Words for a thing that has another spelling."""


def shown(*words: str) -> dict[str, str]:
    """The options that a command's help shows, each with its help."""
    parser = parser_for([*words])
    for word in words:
        parser = next(one.choices for one in parser._actions if hasattr(one, "_name_parser_map"))[word]
    return {
        flag: str(action.help)
        for action in parser._actions
        for flag in action.option_strings
        if action.help != "==SUPPRESS=="
    }


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_options_are_spelled_with_dashes_and_alike(command):
    flags = [flag for flag in shown(*command) if flag.startswith("--") and "." not in flag and flag != "--print_config"]
    assert flags
    for flag in flags:
        assert "_" not in flag, f"{flag} has an underscore"
        assert ALIKE.get(flag.removeprefix("--"), flag) == flag, f"{flag} has another spelling elsewhere"


@pytest.mark.parametrize("command", READERS, ids=" ".join)
def test_where_records_are_read_it_is_from(command):
    assert "--from" in shown(*command)


@pytest.mark.parametrize("command", WRITERS, ids=" ".join)
def test_where_something_is_written_it_is_out(command):
    assert "--out" in shown(*command)


def test_what_completion_offers_of_sweep_is_what_sweep_takes():
    taken = {flag for action in sweep_parser()._actions for flag in action.option_strings}
    assert set(shown("sweep")) == {flag for flag in taken if flag != "--print_config" and not flag.endswith("+")}
    assert "--out" in {flag for action in opening()._actions for flag in action.option_strings}


@pytest.mark.parametrize("words", [["RUNS"], ["--from", "RUNS"], ["RUNS", "--from", "RUNS"]])
@pytest.mark.parametrize("command", [["results"], ["leaderboard", "show"]], ids=" ".join)
def test_a_folder_may_still_be_the_first_word(command, words, tmp_path, monkeypatch, capsys, make_record):
    from rnnae_bench.records.store import Store

    monkeypatch.chdir(tmp_path)
    Store(tmp_path / "RUNS").write(make_record(), {})
    assert main([*command, *words]) == 0
    assert "copy:standard" in capsys.readouterr().out


def test_results_are_chosen_by_options_in_brackets(tmp_path, capsys, make_record):
    from rnnae_bench.records.store import Store

    record = make_record(configuration={"task": {"delay": 3}, "model": {"hidden_size": 4}, "trainer": {}})
    Store(tmp_path).write(record, {})
    for given, count in ((4, 1), (5, 0)):
        named = f"{record.model}[hidden_size={given}]"
        assert main(["results", "--from", str(tmp_path), "--model", named, "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)) == count
    assert main(["results", "--from", str(tmp_path), "--task", "copy[delay=-3]", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_two_folders_are_refused(capsys):
    assert main(["results", "here", "--from", "there"]) == 2
    assert "--from there and here are two folders" in capsys.readouterr().err
