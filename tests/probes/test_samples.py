"""What is kept of a whole set and of a model that goes on alone, beside independent computations."""

import numpy as np
import pytest
import torch
from rnnae_tasks.anomaly.datamodule import AnomalyTask
from rnnae_tasks.copy.datamodule import CopyTask
from rnnae_tasks.mnist1d.datamodule import MNIST1DTask
from rnnae_tasks.next_symbol.datamodule import NextSymbolTask
from rnnae_tasks.represent.datamodule import RepresentTask
from sklearn.metrics import confusion_matrix

from rnnae_bench.models.dense_autoencoder import DenseAutoencoder
from rnnae_bench.models.recurrent import GRU
from rnnae_bench.models.temporal_convolution import TemporalConvolution
from rnnae_bench.probes.answers import Answers, continuation
from rnnae_bench.probes.whole_set import CODES, WholeSet


@torch.no_grad()
def answered(task, model, rows=(0, 1)):
    """What is gathered over the test set of a model that was not trained, and its prediction, whole."""
    answers, whole, predictions = Answers(task, rows), WholeSet(task), []
    for batch in task.evaluation_batches("test"):
        predictions.append(task.predict(model, batch))
        answers.add(model, batch, predictions[-1])
        whole.add(model, batch, predictions[-1])
    return answers.arrays(), whole.arrays({"threshold": 0.5}), torch.cat(predictions).numpy()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_the_confusion_is_scikit_learns():
    task = MNIST1DTask.from_variant("smoke")
    _, whole, prediction = answered(task, GRU(task.spec, hidden_size=4).eval())
    targets = task.evaluation_set("test").targets
    np.testing.assert_array_equal(
        whole["test/confusion"], confusion_matrix(targets, prediction.argmax(1), labels=range(10))
    )
    assert "test/codes" not in whole


def test_codes_are_the_models_and_have_their_labels():
    task = RepresentTask.from_variant("smoke")
    model = DenseAutoencoder(task.spec, code_size=2).eval()
    arrays, whole, _ = answered(task, model)
    test = task.evaluation_set("test")
    rows = torch.arange(CODES) * len(test.targets) // CODES
    np.testing.assert_allclose(whole["test/codes"], model.encode(test.inputs[rows]).detach().numpy(), atol=1e-6)
    np.testing.assert_array_equal(whole["test/code_labels"], test.targets[rows, 0])
    assert arrays["output"].shape == arrays["inputs"].shape  # what is scored is the code, what is drawn the picture


def test_scores_of_what_is_unusual_are_all_kept():
    task = AnomalyTask.from_variant("smoke")
    arrays, whole, prediction = answered(task, DenseAutoencoder(task.spec, code_size=4).eval())
    np.testing.assert_array_equal(whole["test/scores"], prediction)
    np.testing.assert_array_equal(whole["test/kinds"], task.evaluation_set("test").targets)
    assert whole["test/threshold"].tolist() == [0.5]
    error = np.square(arrays["output"] - arrays["inputs"]).mean(axis=(1, 2))
    np.testing.assert_allclose(error, arrays["prediction"], rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("model", "options"), [(GRU, {"hidden_size": 8}), (TemporalConvolution, {"channels": 8})])
def test_a_model_goes_on_with_what_it_holds_likely(model, options):
    """Of logits a hundred times as large, the likeliest symbol, by a loop that reads all of it anew."""
    task = NextSymbolTask.from_variant("smoke")
    asked = model(task.spec, **options).eval()

    class Certain(torch.nn.Module):
        def forward(self, inputs, lengths=None):
            return 1e4 * asked(inputs, lengths)

    certain = Certain()
    arrays, _, _ = answered(task, asked, rows=(0, 2))
    found = continuation(certain, task, arrays)
    sequence = torch.from_numpy(arrays["inputs"])
    for step in range(found.shape[1]):
        sequence = torch.cat((sequence, asked(sequence)[:, -1].argmax(-1, keepdim=True)), dim=1)
        np.testing.assert_array_equal(found[:, step], sequence[:, -1])
    np.testing.assert_array_equal(continuation(asked, task, arrays), continuation(asked, task, arrays))


def test_a_task_that_asks_for_something_else_is_not_continued():
    task = CopyTask.from_variant("smoke")
    model = GRU(task.spec, hidden_size=4).eval()
    arrays, _, _ = answered(task, model)
    assert continuation(model, task, arrays) is None
