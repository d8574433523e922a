"""The documentation is true: its commands run, its Python runs, its docstrings' examples hold."""

import doctest
import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import pytest
import rnnae_tasks

import rnnae_bench
from rnnae_bench.cli import main

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(?P<mark><!-- not run: [^>]+ -->\n)?```(?P<language>\w+)\n(?P<content>.*?)```", re.DOTALL)


def blocks(language: str) -> list[re.Match]:
    return [block for block in BLOCK.finditer(README.read_text()) if block["language"] == language]


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


def test_readme_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ran = 0
    for block in blocks("console"):
        if block["mark"]:
            continue
        for line in block["content"].splitlines():
            prompt, program, *arguments = shlex.split(line)
            assert (prompt, program) == ("$", "rnnae-bench"), line
            try:
                code = main(arguments)
            except SystemExit as left:
                code = left.code
            assert code == 0, f"{line}: {capsys.readouterr().err}"
            ran += 1
    assert ran >= 8
    namespace: dict = {}
    for block in blocks("python"):
        exec(compile(block["content"], str(README), "exec"), namespace)
    assert re.search(r"^gru [\d.]+ [\d.]+$", capsys.readouterr().out, re.MULTILINE)
    check_leaky(namespace["Leaky"])
    check_gradients(namespace["Leaky"], namespace["SteppedLeaky"])


def check_leaky(leaky):
    """The README's model passes the exam, and its states are its equation's."""
    import torch
    from rnnae_tasks.copy.datamodule import CopyTask

    from rnnae_bench.testing import check_model

    task = CopyTask.from_variant("smoke")
    assert check_model(leaky, task) is None
    model = leaky(task.spec, hidden_size=3, leak=0.25).double()
    inputs = torch.randn(2, 4, model.embedding.features, dtype=torch.float64)
    state = torch.zeros(2, 3, dtype=torch.float64)
    for step, answer in zip(inputs.unbind(1), model.states(inputs).unbind(1), strict=True):
        drive = step @ model.input.weight.T + model.input.bias + state @ model.recurrent.weight.T
        state = (1 - 0.25) * state + 0.25 * torch.tanh(drive)
        torch.testing.assert_close(answer, state)


def check_gradients(leaky, stepped):
    """The README's model has the gradient through time that autograd gives, by `watch` and by `step`."""
    import torch
    from rnnae_tasks.copy.datamodule import CopyTask

    from rnnae_bench.probes.examination import examine
    from rnnae_bench.probes.last_step import last_step_loss
    from rnnae_bench.testing import check_model

    task = CopyTask.from_variant("smoke")
    batch = task.held_out(3)
    model = leaky(task.spec, hidden_size=5).double()
    states, state = [], torch.zeros(3, 5, dtype=torch.float64)
    for drive in model.input(model.embedding(batch.inputs).double()).unbind(1):
        state = torch.lerp(state, torch.tanh(drive + model.recurrent(state)), model.leak)
        state.retain_grad()
        states.append(state)
    last_step_loss(task, model.head(torch.stack(states, 1)), batch).backward()
    expected = torch.stack([one.grad.norm(dim=1).log10().mean() for one in states]).flip(0)
    shown, inputs = examine(model, task, batch)
    torch.testing.assert_close(torch.tensor(shown.gradients["h"][0]), expected, rtol=1e-10, atol=1e-10)
    assert shown.exponents is None
    assert inputs.layer == "inputs"
    assert check_model(stepped, task) is None
    twin = stepped(task.spec, hidden_size=5)
    twin.load_state_dict(model.state_dict())
    layer, _ = examine(twin, task, batch)
    torch.testing.assert_close(torch.tensor(layer.gradients["h"][0]), expected, rtol=1e-10, atol=1e-10)
    assert layer.exponents.shape == (3, 4)


def test_readme_names_what_is_installed():
    from rnnae_bench.plugins.registry import models, tasks

    text = README.read_text()
    for name in [*models().names(), *tasks().names()]:
        assert f"`{name}`" in text, name


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
