"""``rnnae-bench probe``: what it prints against numbers computed apart from it."""

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench.cli import main
from rnnae_bench.errors import UserError
from rnnae_bench.probes.examination import examine
from rnnae_bench.records.store import Store
from rnnae_bench.recurrence import dynamics
from rnnae_bench.trial.pair import Pair

SMALL = ["--model.hidden_size", "6", "--rows", "3", "--exponents", "2"]
SHORT = ["--task.protocol.max_steps", "12", "--task.protocol.evaluate_every", "6"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(dynamics, "TURNING_STEPS", 200)


def probe(capsys, *arguments: str) -> dict:
    assert main(["probe", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_numbers_of_a_vanilla_recurrence_are_those_of_its_equation(capsys):
    report = probe(capsys, "rnn", "copy:smoke", *SMALL, "--model.initialization", "pytorch", "--seed", "4")
    assert (report["model"], report["task"], report["variant"], report["after"]) == ("rnn", "copy", "smoke", 0)
    assert (report["seed"], report["rows"]) == (4, 3)
    assert report["overrides"] == {"model.hidden_size": 6, "model.initialization": "pytorch"}
    layer, inputs = report["layers"]
    assert (layer["layer"], inputs["layer"]) == ("recurrence.l0", "inputs")

    pair = Pair("copy:smoke", "rnn")
    options = pair.resolve({"model": {"hidden_size": 6, "initialization": "pytorch"}})
    task = pair.build_task(options["task"], 4)
    model = pair.build_model(task, options["model"], 4)
    weights = {name: one.detach().double().numpy() for name, one in model.named_parameters()}
    w_ih, w_hh, b_ih, b_hh = (
        weights[f"recurrence.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    batch = task.evaluation_set("validation")
    rows = [0, 66, 133]  # evenly over 200
    tokens, targets = batch.inputs[rows].numpy(), batch.targets[rows].numpy()
    jacobians, profiles, exponents = [], [], []
    for row in range(3):
        h, mine = np.zeros(6), []
        for token in tokens[row]:
            h = np.tanh(w_ih[:, token] + b_ih + w_hh @ h + b_hh)
            mine.append((1 - h**2)[:, None] * w_hh)
        logits = weights["head.affine.weight"] @ h + weights["head.affine.bias"]
        error = np.exp(logits) / np.exp(logits).sum() - np.eye(9)[targets[row, -1]]
        delta = error @ weights["head.affine.weight"] / (3 * 8)  # the loss is a mean over 3 sequences of 8 steps
        profile = [delta]
        for jacobian in mine[:0:-1]:
            profile.append(profile[-1] @ jacobian)
        profiles.append([math.log10(np.linalg.norm(one)) for one in profile])
        jacobians.append([np.linalg.norm(one, 2) for one in mine])
        product = np.linalg.multi_dot(mine[::-1])
        exponents.append(np.log(np.linalg.svd(product)[1][:2]) / 8)
    norms = np.array(jacobians)
    assert layer["spectral_radius"] == pytest.approx({"h": np.abs(np.linalg.eigvals(w_hh)).max()}, rel=1e-10)
    assert layer["spectral_norm"] == pytest.approx({"h": np.linalg.norm(w_hh, 2)}, rel=1e-10)
    singular = layer["largest_singular_value"]
    assert (singular["median"], singular["max"]) == pytest.approx((np.median(norms), norms.max()), rel=1e-10)
    for name in ("median", "min", "max"):
        assert singular["by_step"][name] == pytest.approx(getattr(np, name)(norms, axis=0), rel=1e-10)
    lyapunov = layer["lyapunov_exponents"]
    assert lyapunov["mean"] == pytest.approx(np.mean(exponents, axis=0), rel=1e-6)
    assert lyapunov["standard_deviation"] == pytest.approx(np.std(exponents, axis=0, ddof=1), rel=1e-4)
    gradient = layer["gradient_norm"]["h"]
    assert gradient["log10_mean"] == pytest.approx(np.mean(profiles, axis=0), rel=1e-9)
    assert gradient["log10_q90"] == pytest.approx(np.quantile(profiles, 0.9, axis=0), rel=1e-9)
    slope = np.polyfit(np.arange(8), np.mean(profiles, axis=0), 1)[0] * math.log(10)
    assert gradient["decay_rate"] == pytest.approx(slope, rel=1e-9)


def test_every_layer_direction_gate_and_state_is_shown(capsys):
    arguments = ["lstm", "names:smoke", *SMALL, "--model.layers", "2", "--model.bidirectional", "true"]
    layers = probe(capsys, *arguments)["layers"]
    names = ["recurrence.l0", "recurrence.l0_reverse", "recurrence.l1", "recurrence.l1_reverse"]
    assert [layer["layer"] for layer in layers] == [*names, "inputs"]
    for layer in layers[:-1]:
        assert [*layer["spectral_radius"]] == ["i", "f", "g", "o"]
        assert [*layer["gradient_norm"]] == ["h", "c"]
    assert main(["probe", *arguments]) == 0
    said = capsys.readouterr().out
    assert "lstm on names:smoke, seed 0, before training; 3 validation sequences" in said
    for words in (*names, "spectral radius of W_hh, gate f", "Lyapunov exponent 2", "decay rate of |dL/dc|", "⠀"):
        assert words in said


def test_steps_limits_the_jacobians_to_the_end_of_the_sequences(capsys):
    whole, last = (probe(capsys, "gru", "copy:smoke", *SMALL, *more)["layers"][0] for more in ([], ["--steps", "3"]))
    by_step = [one["largest_singular_value"]["by_step"] for one in (whole, last)]
    assert by_step[1]["step"] == [5, 6, 7]
    assert by_step[1] == {name: values[-3:] for name, values in by_step[0].items()}
    assert last["gradient_norm"] == whole["gradient_norm"]


def test_exponents_are_no_more_than_the_state_has_numbers(capsys):
    layer, _ = probe(capsys, "gru", "copy:smoke", "--model.hidden_size", "2", "--rows", "1")["layers"]
    assert len(layer["lyapunov_exponents"]["mean"]) == 2
    assert layer["lyapunov_exponents"]["standard_deviation"] is None


def test_after_examines_the_weights_that_the_trial_had_then(capsys, tmp_path):
    pair = Pair("copy:smoke", "gru")
    overrides = {"model": {"hidden_size": 6}, "task": {"protocol": {"max_steps": 12, "evaluate_every": 6}}}
    from lightning import Callback

    from rnnae_bench.trial.trial import Trial

    class Keep(Callback):
        weights: dict

        def on_test_start(self, trainer, pl_module):
            self.weights = copy.deepcopy(pl_module.state_dict())

    keep = Keep()
    trial = Trial(pair, pair.resolve(overrides), seed=1)
    assert trial.run(Store(tmp_path), [], [keep]).record.status == "ok"
    matrices = keep.weights["recurrence.weight_hh_l0"].double().split(6)
    expected = [torch.linalg.matrix_norm(matrix, ord=2).item() for matrix in matrices]
    arguments = ["gru", "copy:smoke", *SMALL, *SHORT, "--seed", "1", "--after"]
    report = probe(capsys, *arguments, "12")
    assert report["after"] == 12
    assert [*report["layers"][0]["spectral_norm"].values()] == pytest.approx(expected, rel=1e-9)
    earlier = probe(capsys, *arguments, "5")["layers"][0]["spectral_norm"]
    assert [*earlier.values()] != pytest.approx(expected, rel=1e-6)


def test_a_training_that_fails_first_is_said_in_a_line(capsys):
    hopeless = ["--model.optimization.learning_rate", "1e38", "--model.optimization.warmup", "0"]
    assert main(["probe", "gru", "copy:smoke", *SMALL, *SHORT, *hopeless, "--after", "12"]) == 1
    assert "rnnae-bench: no step 12 to examine: the training loss was not finite at step" in capsys.readouterr().err


def test_the_picture_is_a_png(capsys, tmp_path):
    picture = tmp_path / "dynamics.png"
    probe(capsys, "gru", "denoise:smoke", *SMALL, "--steps", "4", "--out", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_memory_issues_the_passport_of_the_model_too(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("rnnae_bench.probes.passport._SAMPLES", 2000)
    picture = tmp_path / "dynamics.png"
    asked = ["gru", "copy:smoke", *SMALL, "--memory", "--lags", "20"]
    memory = probe(capsys, *asked, "--out", str(picture))["memory"]
    assert (memory["units"], len(memory["linear_memory"]["by_lag"])) == (6, 20)
    assert 2 < memory["information_processing"]["total"] < 6.6
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["probe", *asked]) == 0
    said = capsys.readouterr().out
    for words in ("time constant of gate z, median", "linear memory capacity", "bits known, at least", "kernel rank"):
        assert words in said
    assert probe(capsys, "gru", "copy:smoke", *SMALL)["memory"] is None


def test_a_model_that_has_no_passport_is_examined_all_the_same(capsys):
    assert main(["probe", "gru", "denoise:smoke", *SMALL, "--model.bidirectional", "true", "--memory"]) == 0
    found = capsys.readouterr()
    assert "not measured: memory: the model's states see later inputs too" in found.err
    assert "linear memory capacity" not in found.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gru", "copy:smoke", "--memory", "--lags", "0"], "lags is 0"),
        ([], "got neither"),
        (["gru"], "got gru"),
        (["--seed", "1", "gru", "copy"], "before all options"),
        (["gruu", "copy"], "did you mean 'gru'"),
        (["gru", "cpoy"], "did you mean 'copy'"),
        (["gru", "copy:smok"], "it has smoke"),
        (["dense_ae", "copy:smoke"], "does not support task"),
        (["gru", "copy:smoke", "--sed", "1"], "did you mean --seed?"),
        (["gru", "copy:smoke", "--task.name", "sine"], "the options name gru on sine:standard too"),
        (["gru", "copy:smoke", "--rows", "0"], "rows is 0"),
        (["gru", "copy:smoke", "--exponents", "0"], "exponents is 0"),
        (["gru", "copy:smoke", "--threads", "0"], "threads is 0"),
        (["gru", "copy:smoke", "--steps", "-1"], "steps is -1"),
        (["gru", "copy:smoke", "--after", "-1"], "after is -1"),
        (["gru", "copy:smoke", "--after", "401"], "the protocol has 400 steps"),
        (["gru", "copy:smoke", "--out", "dynamics.pdf"], "ends in .png"),
        (["gru", "copy:smoke", "--out", "absent/dynamics.png"], "there is no folder absent"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["probe", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = [line for line in output.err.splitlines() if line.strip()]
    assert line.startswith("rnnae-bench: error: ")
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_a_loop_of_a_plugins_own_and_a_model_without_one_are_examined_as_far_as_they_can_be(capsys, install):
    leaky = Path(__file__).parents[1] / "plugin_example" / "rnnae_bench_example" / "leaky.py"
    install("leaky-plugin", {"leaky_plugin.py": leaky.read_text()}, models={"leaky": "leaky_plugin:LeakyRNN"})
    assert main(["probe", "leaky", "copy:smoke", "--model.hidden_size", "6", "--rows", "3"]) == 0
    said = capsys.readouterr()
    for words in ("3 validation sequences", "l0", "inputs", "decay rate of |dL/dh|", "decay rate of |dL/dx|", "⠀"):
        assert words in said.out
    (line,) = [line for line in said.err.splitlines() if line]
    assert line.startswith("not measured: l0: there are no Jacobians and exponents of states that `watch` shows")
    (inputs,) = probe(capsys, "dense_ae", "denoise:smoke", "--rows", "3")["layers"]
    assert inputs["lyapunov_exponents"] is inputs["largest_singular_value"] is None
    assert len(inputs["gradient_norm"]["x"]["log10_mean"]) == 28


def test_help_needs_no_torch():
    code = "import sys; from rnnae_bench.cli import main; main(['probe', '--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


class Foreign(nn.Module):
    """Takes tokens, as the copy task gives them, and runs one of torch.nn's."""

    def __init__(self, recurrence: nn.RNNBase) -> None:
        super().__init__()
        self.recurrence = recurrence
        self.head = nn.Linear(5, 9)

    def forward(self, inputs, lengths=None):
        return self.head(self.recurrence(nn.functional.one_hot(inputs, 10).to(torch.get_default_dtype()))[0])


def test_a_foreign_model_is_examined_as_one_of_this_suite():
    from rnnae_bench.recurrence.conversion import from_torch

    torch.manual_seed(0)
    task = Pair("copy:smoke", "gru").task_class.from_variant("smoke")
    foreign = Foreign(nn.LSTM(10, 5, num_layers=2, batch_first=True))
    own = copy.deepcopy(foreign)
    own.recurrence = from_torch(own.recurrence)
    batch = task.evaluation_set("validation").rows(slice(0, 2))
    told = []
    for mine, theirs in zip(
        examine(foreign, task, batch, progress=lambda *done: told.append(done)), examine(own, task, batch), strict=True
    ):
        assert mine.layer == theirs.layer
        assert mine.spectral_radii == theirs.spectral_radii
        np.testing.assert_allclose(mine.singular_values, theirs.singular_values, rtol=1e-10)
        np.testing.assert_allclose(mine.exponents, theirs.exponents, rtol=1e-6)
        for state, gradient in theirs.gradients.items():
            np.testing.assert_allclose(mine.gradients[state], gradient, rtol=1e-9)
    total = told[-1][1]
    assert told == [(done, total) for done in range(1, total + 1)]
    assert torch.get_default_dtype() == torch.float32


def test_a_model_that_can_not_run_in_double_precision_is_said_in_a_line():
    task = Pair("copy:smoke", "gru").task_class.from_variant("smoke")
    model = Foreign(nn.GRU(3, 5))
    with pytest.raises(UserError, match="can't be run in double precision outside a trial: RuntimeError"):
        examine(model, task, task.evaluation_set("validation").rows(slice(0, 2)))
