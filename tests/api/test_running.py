"""`rnnae_bench.run` as a script or a notebook calls it."""

import json
import subprocess
import sys

import pytest
import torch

import rnnae_bench
from rnnae_bench import Optimization, SequenceModel
from rnnae_bench.cli import main
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.unregistered import digest, handle_of

SHORT = {"protocol": {"max_steps": 30, "evaluate_every": 15}}


class Echo(SequenceModel):
    """A GRU of torch's, registered by nobody.

    Args:
        hidden_size: Units.
    """

    def __init__(self, spec, hidden_size: int = 8):
        super().__init__(spec, hidden_size, Optimization())
        self.cell = torch.nn.GRU(self.embedding.features, hidden_size, batch_first=True)

    def states(self, inputs, lengths=None):
        return self.cell(inputs)[0]


SCRIPT = """
import rnnae_bench
results = rnnae_bench.run("copy:smoke", "gru[layers=1]", hidden_size=8, seeds=[3], task_options={options})
print(results)
assert rnnae_bench.load("runs").record.id == results.record.id
for call in (lambda: rnnae_bench.sweep("copy:smoke", [type(results.model)]), lambda: rnnae_bench.run("copy:smoke", 3)):
    try:
        call()
    except rnnae_bench.errors.UserError as error:
        print(error)
"""


def test_a_script_sees_what_is_ours_and_nothing_else(tmp_path):
    command = [sys.executable, "-c", SCRIPT.format(options=SHORT)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("gru[hidden_size=8] on copy:smoke[max_steps=30,evaluate_every=15], seed 3: recall_")
    _, not_swept, not_run = done.stdout.splitlines()
    assert not_swept.startswith("a sweep trains in processes of its own, where only what is installed is known; got <")
    assert not_run == "a model is named, or given as a class; this is 3, of int"
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("gru on copy:smoke, seed 3: step ") for line in lines)


def test_a_run_is_the_command_lines_and_gives_record_model_table_and_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    results = rnnae_bench.run("copy:smoke", "gru", hidden_size=8, seeds=2, task_options=SHORT, progress=False)
    assert capsys.readouterr() == ("", "")
    assert [one.record.seed for one in results] == [0, 1]
    assert [one.record.status for one in results] == ["ok", "ok"]
    assert not results[0].model.training
    assert results[0].series["loss"].values.shape == (30,)
    assert results[0].samples["rows"].tolist() == [0, 25, 50, 75, 100, 125, 150, 175]
    assert results[0].samples["prediction"].shape == (8, 8, 9)
    assert list(results.frame()["seed"]) == [0, 1]
    assert "gru[hidden_size=8]" in repr(results)
    for shown in (results, results[0]):
        assert "data:image/png;base64," in shown._repr_html_()
        assert shown.plot()._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="there are 2 trials here"):
        _ = results.model
    with pytest.raises(UserError, match="weights were not kept"):
        _ = rnnae_bench.load("runs")[0].model
    options = ["--model.hidden_size", "8", "--task.protocol.max_steps", "30", "--task.protocol.evaluate_every", "15"]
    assert main(["run", "--task", "copy:smoke", "--model", "gru", *options, "--json"]) == 0
    said = capsys.readouterr()
    assert "measured before" in said.err
    assert json.loads(said.out)[0]["id"] == results[0].record.id
    before = rnnae_bench.run("copy:smoke", "gru", hidden_size=8, task_options=SHORT)
    assert before.record == results[0].record


def test_a_class_that_is_not_installed_is_run_and_its_record_says_so(tmp_path, capsys):
    call = {"task_options": SHORT, "out": tmp_path, "progress": False}
    result = rnnae_bench.run("copy:smoke", Echo, hidden_size=4, **call)
    assert isinstance(result.model, Echo)
    assert result.record.model == "echo"
    plugins = result.record.environment.plugins
    assert plugins[f"{__name__}:Echo (not installed)"] == digest(Echo)
    again = rnnae_bench.run("copy:smoke", Echo, hidden_size=4, **call)
    assert (again.record.id, again.record.primary) == (result.record.id, result.record.primary)
    assert isinstance(again.model, Echo)
    assert main(["reproduce", str(result[0].path)]) == 2
    assert "there is no model 'echo'" in capsys.readouterr().err


def test_a_digest_is_of_the_code():
    def make(body):
        namespace = {"__name__": "somewhere"}
        exec(f"FACTOR = 2\ndef helper(x):\n    return x * FACTOR\n{body}", namespace)
        return digest(namespace["One"])

    first = make("class One:\n    def f(self, x):\n        return helper(x)")
    assert first == make("\n\nclass One:\n    # a remark\n    def f(self, x):\n        return helper(x)")
    assert first != make("class One:\n    def f(self, x):\n        return helper(x) + 1")
    assert first != make("FACTOR = 3\nclass One:\n    def f(self, x):\n        return helper(x)")


def test_an_installed_class_is_itself_and_its_name_is_taken():
    from rnnae_bench.models.recurrent import GRU

    assert handle_of("model", GRU).distribution == "rnnae-bench"
    with pytest.raises(UserError, match="a model named 'gru' is installed"):
        handle_of("model", type("GRU", (SequenceModel,), {}))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"hiden_size": 3}, "hiden_size is not an option of gru on copy:smoke; did you mean hidden_size?"),
        ({"seed": 3}, "did you mean seeds?"),
        ({"precision": "16-mixed"}, "but of the trainer: trainer_options={'precision': ...}"),
        ({"delay": 3}, "but of the task: task_options={'delay': ...}"),
        ({"hidden_size": "many"}, "^hidden_size: "),
        ({"hidden_size": 3, "model_options": {"hidden_size": 4}}, "hidden_size is given in model_options and as a"),
        ({"model": "gru[layers=2]", "layers": 1}, "layers is given in gru.layers=2. and beside it"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": []}, "seeds is how many, or a list of whole numbers"),
        ({"seeds": [-1]}, "seeds is -1"),
        ({"loggers": "wandb"}, r"write \['wandb'\]"),
        ({"loggers": ["wandbb"]}, "it must be one of wandb"),
        ({"trainer_options": {"precison": 3}}, "trainer option precison is not passed to the trainer"),
        ({"variant": "long"}, "names its variant"),
        ({"model": "gruu"}, "did you mean 'gru'"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(call, told, tmp_path):
    with pytest.raises(UserError, match=told) as raised:
        rnnae_bench.run(**{"task": "copy:smoke", "model": "gru", "out": tmp_path / "runs", **call})
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "runs").exists()


def test_mistakes_speak_of_arguments():
    for call, said in (
        (
            lambda: rnnae_bench.run("copy:smoke", "gru", hidden_size="x"),
            "hidden_size: got 'x'; it must be a whole number",
        ),
        (lambda: rnnae_bench.probe("copy:smoke", "gru", after=9999), "set task option protocol.max_steps for more"),
        (lambda: rnnae_bench.sweep("copy:smoke", "gru", search_space={"a": 1}), "add search optuna"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            call()
        assert "--" not in str(caught.value)
