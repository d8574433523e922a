"""Third-party packages: the example one, built and installed for real; broken ones; and two that want one name."""

import json
import sys
from pathlib import Path

import pytest
import torch

from rnnae_bench.cli.list import main as list_main
from rnnae_bench.cli.show import main as show_main
from rnnae_bench.contracts.spec import Classes, TaskSpec, Vectors
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import models, tasks
from rnnae_bench.testing import check_model, check_task

EXAMPLE = Path(__file__).parents[1] / "plugin_example"


def listed(capsys, *arguments):
    """What ``list --json`` says, by name."""
    assert list_main([*arguments, "--json"]) == 0
    return {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}


def shown(capsys, *arguments):
    assert show_main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_example_is_listed_with_its_distribution(example, capsys):
    entries = listed(capsys)
    for name, kind in (("leaky", "model"), ("running_parity", "task")):
        entry = entries[name]
        assert entry["kind"] == kind
        assert (entry["distribution"], entry["version"]) == ("rnnae-bench-example", "1.0.0")
        assert (entry["status"], entry["reason"]) == ("ok", None)
    assert entries["running_parity"]["summary"] == "Running parity"
    assert entries["running_parity"]["variants"] == ["smoke", "standard"]
    assert entries["gru"]["status"] == "ok"
    assert "rnnae_bench_example" not in sys.modules


def test_the_example_is_shown(example, capsys):
    model = shown(capsys, "model", "leaky")
    defaults = {each["name"]: each["default"] for each in model["hyperparameters"]}
    assert defaults["leak"] == 0.5
    assert "optimization.clip" in defaults
    task = shown(capsys, "task", "running_parity:smoke")
    assert task["readme"] == str(example / "rnnae_bench_example" / "running_parity" / "README.md")
    assert task["variants"]["smoke"]["floor"] == 0.5
    assert "rnnae_bench_example" not in sys.modules


def test_the_example_takes_the_exam(example):
    leaky, parity = models().get("leaky").load(), tasks().get("running_parity").load()
    check_task(parity)
    assert check_model(leaky, parity.from_variant("smoke")) is None
    assert check_model(leaky, tasks().get("copy").load().from_variant("smoke")) is None
    assert check_model(models().get("gru").load(), parity.from_variant("smoke")) is None


def test_the_examples_row_is_its_drawn_example(example):
    targets = torch.tensor([[0, 1, 1, 0, 1, 0, 0, 1]]).cumsum(1) % 2
    assert targets.tolist() == [[0, 1, 0, 0, 1, 1, 1, 0]]
    batch = tasks().get("running_parity").load()(length=9).evaluation_set("test")
    assert torch.equal(batch.targets[:, 0], batch.inputs[:, 0])
    flips = batch.targets[:, 1:] != batch.targets[:, :-1]
    assert torch.equal(flips, batch.inputs[:, 1:].bool())


def test_the_examples_model_is_its_equation(example):
    spec = TaskSpec("any", Vectors(features=2, length=5), Classes(3), "every step", causal=True)
    leaky = models().get("leaky").load()
    model = leaky(spec, hidden_size=4, leak=0.3)
    inputs = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    weights = {name: value.detach() for name, value in model.named_parameters()}
    state = torch.zeros(2, 4)
    for step in range(5):
        drive = inputs[:, step] @ weights["input_map.weight"].T + weights["input_map.bias"]
        state = 0.7 * state + 0.3 * torch.tanh(drive + state @ weights["recurrent_map.weight"].T)
        torch.testing.assert_close(model.states(inputs)[:, step], state)
    with pytest.raises(UserError, match="leak is 0"):
        leaky(spec, leak=0)


BROKEN = {
    "no_package": ("import no_such_package\nclass Model: ...", "'no_such_package', which is not installed"),
    "no_syntax": ("class Model(", "syntax error"),
    "no_attribute": ("class Another: ...", "defines no 'Model'"),
    "no_module": (None, "there is no module 'no_module'"),
}


def test_broken_plugins_are_listed_as_such_and_harm_nothing_else(install, capsys):
    files = {f"{name}.py": text for name, (text, _) in BROKEN.items() if text}
    install("broken-plugin", files, models={name: f"{name}:Model" for name in BROKEN}, tasks={"no_card": "json:dumps"})
    entries = listed(capsys)
    for name, (_, reason) in BROKEN.items():
        assert entries[name]["status"] == "broken", name
        assert reason in entries[name]["reason"]
        with pytest.raises(UserError, match=f"cannot load the model '{name}' .* of broken-plugin 1.0"):
            models().get(name).load()
        with pytest.raises(UserError, match=f"cannot show the model '{name}' of broken-plugin"):
            show_main(["model", name])
    assert entries["gru"]["status"] == "ok"
    assert models().get("gru").load().__name__ == "GRU"
    assert show_main(["model", "gru"]) == 0


HOSTILE = {
    "own_base": "from rnnae_bench.models.recurrent import GRU\nclass Model(GRU): ...\nclass Model(Model): ...",
    "each_other": "class A(B): ...\nclass B(A): ...\nclass Model(A): ...",
    "own_field": (
        "from dataclasses import dataclass\n@dataclass\nclass Node:\n    next: 'Node'\n    value: int = 1\n"
        "class Model:\n    def __init__(self, spec, node: Node): ..."
    ),
    "deep": f"class Model: ...\nx = {'(' * 150}1{')' * 150}\ny = {'-' * 50_000}1",
    "leaves": "import sys\nclass Model: ...\nsys.exit(3)",
    "cancelled": "import asyncio\nclass Model: ...\nraise asyncio.CancelledError",
    "forks": "import os\nclass Model: ...\nos.fork()",
}


def test_hostile_plugins_harm_nothing_else(install, capsys):
    files = {f"{name}.py": text for name, text in HOSTILE.items()}
    install("hostile-plugin", files, models={name: f"{name}:Model" for name in HOSTILE})
    entries = listed(capsys)
    assert entries.keys() >= {*HOSTILE, "gru", "copy"}
    assert entries["deep"]["status"] == "broken"
    assert entries["gru"]["status"] == "ok"
    fields = {each["name"]: each["type"] for each in shown(capsys, "model", "own_field")["hyperparameters"]}
    assert fields == {"node.next": "Node", "node.value": "int"}
    assert shown(capsys, "model", "own_base")["hyperparameters"] is None
    for name, kind in (("leaves", "SystemExit: 3"), ("cancelled", "CancelledError")):
        with pytest.raises(UserError, match=rf"cannot load the model '{name}' .*: {kind}"):
            models().get(name).load()
    assert models().get("forks").load().__name__ == "Model"


def test_a_list_of_entry_points_that_cannot_be_read_hides_no_other(install, tmp_path, capsys):
    install("unreadable-plugin", {})
    (tmp_path / "unreadable-plugin-1.0.dist-info" / "entry_points.txt").write_text("[rnnae_bench.models]\nnonsense\n")
    assert listed(capsys).keys() >= {"gru", "copy"}


def test_a_plugin_that_fails_when_run_is_refused_in_one_line(install):
    install(
        "late-plugin", {"late.py": "class Model: ...\nraise OSError('no\\nlicence')"}, models={"late": "late:Model"}
    )
    assert models().get("late").broken() is None
    with pytest.raises(
        UserError, match=r"cannot load the model 'late' \(late:Model\) of late-plugin 1.0: OSError: no licence;"
    ):
        models().get("late").load()


def test_a_task_without_a_card_is_broken(install, capsys):
    install("cardless-plugin", {"cardless.py": '"""No card."""\nclass Task: ...'}, tasks={"cardless": "cardless:Task"})
    entry = listed(capsys, "tasks")["cardless"]
    assert entry["status"] == "broken"
    assert "cannot read the task card" in entry["reason"]


def test_a_bad_variant_is_named_with_its_reason_and_the_others_are_usable(install, capsys, tmp_path):
    install("half-plugin", {"half.py": '"""A task."""\nclass Task: ...'}, tasks={"half": "half:Task"})
    text = (EXAMPLE / "rnnae_bench_example" / "running_parity" / "task.yaml").read_text()
    assert text.count("max_steps: ") > 1
    (tmp_path / "task.yaml").write_text(text.replace("max_steps: ", "max_steps: -", 1))
    entry = listed(capsys, "tasks")["half"]
    assert (entry["status"], entry["variants"], [*entry["broken_variants"]]) == ("ok", ["standard"], ["smoke"])
    assert "variants.smoke.protocol.max_steps: must be" in entry["broken_variants"]["smoke"]
    assert shown(capsys, "task", "half")["variants"].keys() == {"standard"}
    list_main(["tasks"])
    show_main(["task", "half"])
    said = capsys.readouterr().out
    assert "broken: variant 'half:smoke' of half-plugin: " in said
    assert "smoke is broken:" in said
    with pytest.raises(UserError, match=r"the variant .smoke. of task .* is broken: .*max_steps"):
        show_main(["task", "half:smoke"])


def test_two_distributions_that_claim_one_name_are_shown_and_neither_is_taken(install, capsys):
    install("other-plugin", {"other.py": '"""Another."""\nclass Model: ...'}, models={"gru": "other:Model"})
    assert list_main(["models", "--json"]) == 0
    entries = [entry for entry in json.loads(capsys.readouterr().out) if entry["name"] == "gru"]
    assert sorted(entry["distribution"] for entry in entries) == ["other-plugin", "rnnae-bench"]
    for entry in entries:
        assert entry["status"] == "conflict"
        assert "other-plugin 1.0 and by rnnae-bench" in entry["reason"]
    with pytest.raises(UserError, match=r"claimed by other-plugin 1\.0 and by rnnae-bench"):
        models().get("gru")
    assert models().get("lstm").load().__name__ == "LSTM"


def test_a_name_that_the_command_line_could_not_say_is_broken(install, capsys):
    install("loud-plugin", {"loud.py": "class Model: ..."}, models={"Loud": "loud:Model"})
    assert "must be of lower-case" in listed(capsys, "models")["Loud"]["reason"]
