"""Completion, by what the shells themselves answer to a line that ends where TAB was pressed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnae_bench.cli import COMMANDS, main
from rnnae_bench.cli.completing import parser_for
from rnnae_bench.cli.leaderboard import ACTIONS

BASH = """
eval "$(rnnae-bench completion bash)"
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
complete -p rnnae-bench >&2
while IFS= read -r line; do
    COMP_LINE="$line"; COMP_POINT=${#line}; COMP_TYPE=9; COMPREPLY=()
    _python_argcomplete rnnae-bench
    echo "${COMPREPLY[*]}"
done
"""

LINES = {
    "rnnae-bench lea": {"leaderboard"},
    "rnnae-bench leaderboard pu": {"push", "pull"},
    "rnnae-bench plugin new my_cell --mo": {"--model"},
    "rnnae-bench run --task copy:s": {"smoke", "standard"},
    "rnnae-bench run --task=copy:s": {"smoke", "standard"},
    "rnnae-bench run --task copy:smoke --model gr": {"gru"},
    "rnnae-bench run --task copy:smoke --model gru --task.de": {"--task.delay"},
    "rnnae-bench run --task copy --model gru --model.initialization ": {"pytorch", "orthogonal", "identity"},
    "rnnae-bench run --logger csv,w": {"csv,wandb"},
    "rnnae-bench sweep --dat": {"--data-seed"},
    "rnnae-bench reproduce 012": {"0123456789abcdef"},
    "rnnae-bench show grout": set(),
    "rnnae-bench show lst": {"lstm"},
}
"""What a line may go on with; in bash, the words after a colon that was written already."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with one record, and rnnae-bench on the path as it is installed."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "0123456789abcdef.json").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


@pytest.mark.usefixtures("here")
def test_bash_completes_commands_options_names_and_records():
    done = subprocess.run(
        [shell("bash"), "--norc", "-c", BASH], input="\n".join(LINES) + "\n", capture_output=True, text=True, check=True
    )
    assert "-F _python_argcomplete rnnae-bench" in done.stderr
    answers = dict(zip(LINES, done.stdout.splitlines(), strict=True))
    assert {line: set(answer.split()) for line, answer in answers.items()} == LINES


@pytest.mark.usefixtures("here")
def test_fish_completes_too():
    script = 'rnnae-bench completion fish | source; complete -C "rnnae-bench leaderboard pu"'
    done = subprocess.run([shell("fish"), "-c", script], capture_output=True, text=True, check=True)
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == {"push", "pull"}


@pytest.mark.usefixtures("here")
def test_zsh_takes_the_script():
    script = 'autoload -U compinit; compinit -D; eval "$(rnnae-bench completion zsh)"; print ${_comps[rnnae-bench]}'
    done = subprocess.run([shell("zsh"), "-f", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "_python_argcomplete"


def options(*words: str) -> set[str]:
    """The options that a line with these words may go on with."""
    parser = parser_for([*words])
    for word in words:
        choices = next((one.choices for one in parser._actions if hasattr(one, "_name_parser_map")), None)
        if choices and word in choices:
            parser = choices[word]
    return {flag for action in parser._actions for flag in action.option_strings}


def test_every_command_and_action_offers_its_options():
    words = [(command,) for command in COMMANDS if command not in ("leaderboard", "plugin")]
    words += [("leaderboard", action) for action in ACTIONS] + [("plugin", "new")]
    for one in words:
        expected = {"--help"} if one == ("completion",) else {"--help", "--json"}
        assert options(*one) >= expected, one


def test_the_options_of_run_are_those_of_the_pair():
    offered = options("run", "--task", "copy:smoke", "--model", "gru")
    assert {"--task.delay", "--task.protocol.max_steps", "--model.hidden_size", "--seeds", "--data-seed"} <= offered
    assert not any(flag.startswith("--model.") for flag in options("run", "--task", "copy:smoke"))
    assert not any(flag.startswith("--task.") for flag in options("run", "--task", "cop", "--model", "gru"))


def test_another_shell_is_a_mistake(capsys):
    with pytest.raises(SystemExit) as left:
        main(["completion", "tcsh"])
    assert left.value.code == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
