"""The program's own words are true: its docstrings' examples hold, and its help names its commands."""

import doctest
import importlib
import pkgutil
import re

import pytest
import rnnae_tasks

import rnnae_bench
from rnnae_bench.cli import main


def modules() -> list[str]:
    return [
        module.name
        for package in (rnnae_bench, rnnae_tasks)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not module.name.endswith("__main__")
    ]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_command_has_help(capsys):
    for command in rnnae_bench.cli.COMMANDS:
        try:
            code = main([command, "--help"])
        except SystemExit as left:
            code = left.code
        assert code == 0
        assert f"usage: rnnae-bench {command}" in capsys.readouterr().out


def test_the_commands_in_help_are_the_commands(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for command, summary in rnnae_bench.cli.COMMANDS.items():
        assert re.search(rf"^  {command} +{summary}$", said, re.MULTILINE)
    assert main([]) == 2
    assert main(["rum"]) == 2
    assert "did you mean 'run'" in capsys.readouterr().err
