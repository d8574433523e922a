"""The pages are true: their commands and their Python run, and they name what is installed."""

import re
import shlex

import pytest

from rnnae_bench.plugins.registry import models, tasks

ELSEWHERE = {"docs/your-own-cell.md"}
"""Pages that a test of their own runs."""

COMMAND = re.compile(r"`(rnnae-bench run (?=[^`]*--task)(?=[^`]*--model)[^`]+)`")


def test_commands_and_python_run(running_page, monkeypatch, tmp_path, capsys):
    if running_page.name in ELSEWHERE:
        pytest.skip("run by test_your_own_cell.py")
    monkeypatch.chdir(tmp_path)
    running_page.run(monkeypatch)
    if running_page.name == "docs/record.md":
        assert re.search(r"^gru [\d.]+ [\d.]+$", capsys.readouterr().out, re.MULTILINE)


def test_commands_in_the_text_are_understood(any_page, monkeypatch, tmp_path, printed):
    monkeypatch.chdir(tmp_path)
    for command in COMMAND.findall(any_page.text):
        if "--model leaky" in command:  # that page's own, which is not installed
            continue
        assert printed([*shlex.split(command), "--print_config"]), command


def test_output_is_what_the_program_prints(any_page, monkeypatch, tmp_path, printed):
    monkeypatch.chdir(tmp_path)
    for command, shown in any_page.outputs:
        assert printed(shlex.split(command)) == shown, command


def test_the_readme_is_short_and_counts_what_is_installed(page):
    text = page("README.md").text
    assert len(text.splitlines()) < 150
    assert f"{len(models().names())} models on {len(tasks().names())} tasks" in text


def test_the_tables_name_what_is_installed(page):
    for name, names in (("docs/models.md", models().names()), ("docs/tasks.md", tasks().names())):
        for one in names:
            assert f"`{one}`" in page(name).text, one


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_the_first_page_leads_to_the_others(page, name):
    linked = set(re.findall(r"\((?:docs/)?([\w-]+)\.md", page(name).text))
    assert {"start", "vanishing-gradients", "your-own-cell", "autoencoders", "leaderboard"} <= linked
