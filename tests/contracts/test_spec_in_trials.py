"""Inputs without time, outputs of their own length, masks and limited codes, by a plugin and through whole trials."""

import importlib
import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnae_bench import Batch, Classes, Images, Static, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.contracts.batch import training_prediction
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import models, tasks
from rnnae_bench.probes.last_step import last_step_loss
from rnnae_bench.records.store import Store
from rnnae_bench.testing import check_model, check_task
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

PLUGIN = Path(__file__).with_name("spec_plugin")
MODELS = {"translator": "Translator", "lstm_ae": "LSTMAutoencoder", "perceptron": "Perceptron"}
TASKS = {"reverse": "ReverseTask", "waves": "WavesTask", "blobs": "BlobsTask"}


@pytest.fixture(autouse=True)
def plugin(install, tmp_path):
    """The plugin's package, installed as another distribution; its models' module."""
    shutil.copytree(PLUGIN, tmp_path / "spec_plugin", ignore=shutil.ignore_patterns("__pycache__"))
    install(
        "spec-plugin",
        {},
        models={name: f"spec_plugin.models:{attribute}" for name, attribute in MODELS.items()},
        tasks={name: f"spec_plugin.{name}.datamodule:{attribute}" for name, attribute in TASKS.items()},
    )
    yield importlib.import_module("spec_plugin.models")
    for name in [name for name in sys.modules if name.startswith("spec_plugin")]:
        del sys.modules[name]


def task(name):
    return tasks().get(name).load().from_variant("smoke")


def trial(label, model, may_be_skipped=False, **options):
    pair = Pair(label, model)
    return Trial(pair, pair.resolve({"model": options}), 0, may_be_skipped=may_be_skipped)


def outcome(made, folder):
    """The record and histories of a trial."""
    found = made.run(Store(folder), ["x"])
    assert found.record.status == "ok", found.record.failure
    return found.record, found.series


def test_the_plugin_passes_the_exam():
    served = {"reverse": "translator", "waves": "lstm_ae", "blobs": "perceptron"}
    for name, model in served.items():
        check_task(type(task(name)))
        assert check_model(models().get(model).load(), task(name)) is None


# Outputs of their own length


def test_an_encoder_decoder_learns_to_reverse(tmp_path):
    made = trial("reverse:smoke", "translator", optimization={"learning_rate": 0.02})
    record, series = outcome(made, tmp_path)
    # Whole strings with their end, of the model's own making: by chance 2 % are right.
    assert record.primary.value > 0.6
    scores = series["test/examples/accuracy"].values
    assert scores.shape == (1, 100)
    assert scores.mean() == pytest.approx(record.primary.value)
    # The encoder's steps are the task's, counted back from the last symbol read; the decoder's are of another time.
    for reading in ("training_loss", "last_step"):
        for name in ("gradient_flow/{}/encoder.l0/c", "input_saliency/{}/inputs/x"):
            profile = series[name.format(reading)].values
            assert profile.shape[1] == 4
            assert np.isfinite(profile).all()
        assert "so its steps are not the task's" in record.absent[f"gradient_flow/{reading}/decoder"]
    found = series["input_saliency/last_step/inputs/x"]
    assert found.steps[0] == 1
    np.testing.assert_allclose(found.values[0], saliency_by_lag(made.build_model().double(), made.task), rtol=1e-4)


def saliency_by_lag(model, reverse):
    """log10 |dL/dx| by lag from the end of each string, L of the last target step alone; by autograd in float64."""
    batch = reverse.held_out(32)
    x = torch.eye(4, dtype=torch.float64)[batch.inputs].requires_grad_()
    shifted = torch.eye(5, dtype=torch.float64)[batch.targets[:, :-1].clamp(min=0)]
    previous = torch.cat((torch.zeros_like(shifted[:, :1]), shifted), dim=1)
    logits = model.head.affine(model.decode(previous, model.encode(x, batch.lengths))[0])
    last = batch.target_lengths - 1
    losses = -logits.log_softmax(-1)[torch.arange(32), last, 4] / batch.target_lengths  # every string ends with a 4
    (gradient,) = torch.autograd.grad(losses.mean(), x)
    norms = gradient.norm(dim=-1).log10()
    lags = [
        [norms[row, length - 1 - lag] for row, length in enumerate(batch.lengths) if lag < length] for lag in range(4)
    ]
    firsts = [[norms[row, length - 1] for row, length in enumerate(batch.lengths) if lag < length] for lag in range(4)]
    grown = [np.mean(here) - np.mean(first) for here, first in zip(lags, firsts, strict=True)]
    return np.mean(lags[0]) + np.array(grown)


def test_targets_reach_the_model_in_training_and_never_at_evaluation():
    reverse = task("reverse")
    model = models().get("translator").load()(reverse.spec)
    batch = reverse.train_batch(0)
    poisoned = batch._replace(targets=batch.targets.clamp(min=0).flip(0))
    trained, otherwise = (training_prediction(model, one, reverse.spec) for one in (batch, poisoned))
    assert torch.equal(trained[:, 0], otherwise[:, 0])  # the first step is fed with no target
    assert not torch.allclose(trained[:, 1:], otherwise[:, 1:])
    assert torch.equal(reverse.predict(model, batch), reverse.predict(model, poisoned))
    seen = []
    model.forward = lambda *given, **named: seen.append((given, named)) or trained
    reverse.predict(model, batch)
    assert seen[0][0] == (batch.inputs, batch.lengths)
    assert not seen[0][1]


def test_teacher_forcing_is_step_by_step_what_the_decoder_says_of_the_targets():
    """A slow twin: one step a call, each fed with the one-hot target before."""
    reverse = task("reverse")
    model = models().get("translator").load()(reverse.spec)
    batch = reverse.train_batch(0).rows(slice(0, 3))
    state = model.encode(torch.eye(4)[batch.inputs], batch.lengths)
    previous = torch.zeros(3, 1, 5)
    steps = []
    for step in range(5):
        outputs, state = model.decode(previous, state)
        steps.append(model.head.affine(outputs[:, 0]))
        previous = torch.eye(5)[batch.targets[:, step].clamp(min=0)][:, None]
    torch.testing.assert_close(training_prediction(model, batch, reverse.spec), torch.stack(steps, 1))


def test_free_running_is_teacher_forcing_with_the_models_own_values(plugin):
    spec = TaskSpec("t", Vectors(3, 7), Values(2), "own length", causal=False, output_length=6)
    model = plugin.Translator(spec)
    inputs = torch.randn(4, 7, 3)
    free = model(inputs)
    assert free.shape == (4, 6, 2)
    torch.testing.assert_close(model(inputs, targets=free), free)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [("Forgetful", "Forgetful.decode must give the same step by step"), ("Peeping", "its own target or a later one")],
)
def test_an_encoder_decoder_that_breaks_its_contract_fails(plugin, broken, reason):
    with pytest.raises(AssertionError, match=reason):
        check_model(getattr(plugin, broken), task("reverse"))


def test_built_in_models_refuse_what_they_cannot_serve_in_a_line():
    with pytest.raises(UserError, match=r"'gru' does not support task 'reverse:smoke'.*a sequence of its own length$"):
        trial("reverse:smoke", "gru")
    with pytest.raises(UserError, match="it runs over time, and the task's inputs are 2 real numbers without time"):
        trial("blobs:smoke", "rnn")
    with pytest.raises(UserError, match="a code of at most 4 numbers, and the model has none"):
        trial("waves:smoke", "lstm")
    with pytest.raises(UserError, match="reconstructs images, and the task's inputs are 10 steps of 2 real num"):
        trial("waves:smoke", "conv_ae")
    with pytest.raises(UserError, match=r"it answers with a sequence of its own length.*every step"):
        trial("waves:smoke", "translator")


# Inputs without time


def test_a_model_without_time_is_trained_on_vectors(tmp_path):
    record, series = outcome(trial("blobs:smoke", "perceptron"), tmp_path)
    assert record.primary.value > 0.6
    for reading in ("training_loss", "last_step"):
        saliency = series[f"input_saliency/{reading}/inputs/x"].values
        assert saliency.shape[1] == 1  # lag 0 alone
        assert np.isfinite(saliency).all()


def test_a_dense_autoencoder_reconstructs_vectors_without_time():
    dense = models().get("dense_ae").load()
    spec = TaskSpec("t", Static(6), Values(6), "last step", causal=False, code_limit=3)
    assert "its code has 4 numbers, and the task allows 3; set code_size" in dense.supports(spec, code_size=4)
    assert dense.supports(spec) is None
    model = dense(spec, hidden_sizes=(5,))
    assert model.state_size == 3
    assert dense(replace(spec, code_limit=None)).state_size == 256
    inputs = 4 * torch.randn(7, 6)
    assert model.encode(inputs).shape == (7, 3)
    assert model(inputs).shape == inputs.shape
    assert (model(inputs) < 0).any()  # no sigmoid


# Limited codes and masks


def test_a_sequence_autoencoder_learns_and_its_code_is_counted(tmp_path):
    record, _ = outcome(trial("waves:smoke", "lstm_ae", optimization={"learning_rate": 0.02}), tmp_path)
    assert record.primary.value < 0.75 * record.primary.floor
    # The plugin does not say how large its code is, under no name that the suite knows.
    with pytest.raises(UserError, match="'lstm_ae' does not support task 'waves:smoke': its code has 5 numbers, and"):
        trial("waves:smoke", "lstm_ae", units=5)
    assert "5 numbers" in trial("waves:smoke", "lstm_ae", may_be_skipped=True, units=5).unsupported


def test_a_sequence_autoencoder_reads_symbols_and_rows_of_images(plugin):
    symbols = TaskSpec("t", Tokens(5, 6), Classes(5), "every step", causal=False)
    image = Images(2, 6, 3)
    for spec, inputs, shape in (
        (symbols, torch.randint(5, (4, 6)), (4, 6, 5)),
        (replace(symbols, inputs=image, outputs=image), torch.rand(4, 2, 6, 3), (4, 2, 6, 3)),
    ):
        model = plugin.LSTMAutoencoder(spec)
        assert model.supports(spec) is None
        assert model(inputs).shape == shape
        assert model.code(inputs).shape == (4, 4)
    assert "an answer before all was read" in model.supports(replace(symbols, causal=True))


def test_what_goes_past_the_code_is_refused(plugin):
    assert "made from more than its code" in check_model(plugin.Bypassed, task("waves"))


@pytest.mark.parametrize("name", ["waves", "reverse"])
def test_the_last_step_is_the_last_that_counts(name):
    one = task(name)
    batch = one.train_batch(0)
    shape = batch.targets.shape if name == "waves" else (*batch.targets.shape, 5)
    prediction = torch.randn(shape, requires_grad=True)
    (gradient,) = torch.autograd.grad(last_step_loss(one, prediction, batch), prediction)
    reached = [row.nonzero().flatten().tolist() for row in gradient.abs().sum(2)]
    if name == "waves":
        assert reached == [[max(step for step in range(10) if row[step])] for row in batch.mask.tolist()]
    else:
        assert reached == [[length - 1] for length in batch.target_lengths.tolist()]


def spoilt(name, **methods):
    """The class of a task with other methods."""
    base = type(task(name))
    return type(base.__name__, (base,), {"card": classmethod(lambda cls: base.card()), **methods})


def with_batches(name, change):
    """The class of a task all of whose batches are changed."""
    base = type(task(name))
    return spoilt(
        name,
        train_batch=lambda self, step: change(base.train_batch(self, step)),
        evaluation_set=lambda self, split: change(base.evaluation_set(self, split)),
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: with_batches("waves", lambda b: b._replace(mask=b.mask[:, 1:])), r"mask must be bool \(32, 10\)"),
        (lambda: with_batches("waves", lambda b: b._replace(mask=b.mask.float())), "mask must be bool"),
        (lambda: with_batches("waves", lambda b: b._replace(mask=b.mask & (b.mask.sum(1) < 7)[:, None])), "every row"),
        (lambda: with_batches("blobs", lambda b: b._replace(mask=b.targets[:, None] > -1)), "predicts once a row"),
        (
            lambda: spoilt("waves", loss=lambda self, p, batch: (p - batch.targets).square().mean()),
            r"with the prediction at steps that do not count: .* batch.scored\(spec\) tells",
        ),
        (lambda: with_batches("reverse", lambda b: b._replace(target_lengths=b.lengths)), "class 4 ends an output"),
        (lambda: with_batches("reverse", lambda b: b._replace(target_lengths=b.lengths + 3)), "target_lengths must be"),
        (
            lambda: with_batches("waves", lambda b: b._replace(target_lengths=b.mask.sum(1))),
            "a length of their own, and only there",
        ),
        (
            lambda: spoilt(
                "reverse", spec=property(lambda self: replace(type(task("reverse")).spec.fget(self), output_length=4))
            ),
            "targets must have 1 to output_length = 4 steps",
        ),
    ],
)
def test_a_task_whose_batches_contradict_its_spec_fails(make, reason):
    with pytest.raises(AssertionError, match=reason) as failed:
        check_task(make())
    assert "\n" not in str(failed.value)


def test_all_fields_of_a_batch_go_where_its_rows_go():
    batch = task("reverse").train_batch(0)._replace(mask=torch.ones(32, 5, dtype=torch.bool))
    half = batch.rows(slice(0, None, 2)).to(torch.device("cpu"))
    assert type(half) is Batch
    assert [len(one) for one in half] == [16] * 5
    assert half.map(torch.clone).target_lengths.tolist() == batch.target_lengths[::2].tolist()
