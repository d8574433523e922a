"""Rows that follow from a closed form: what the suite's tasks, probes and baselines give for the same."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from rnnae_bench.api.probing import probe
from rnnae_bench.metrics import update_metrics
from rnnae_bench.plugins.registry import tasks


def memoryless_loss(name: str) -> list[float]:
    """The task's own loss metric on its own test set, of one who says blank, and then any of the eight symbols."""
    task = tasks().get("copy").load().from_variant("standard")
    batch = task.evaluation_set("test")
    logits = torch.full((*batch.targets.shape, task.spec.outputs.count), -40.0)
    # Blank is 0 until the recall begins; from there on all symbols are as likely.
    logits[:, : -task.recall, 0] = 40.0
    logits[:, -task.recall :, 1 : 1 + task.symbols] = 40.0
    metrics = task.metrics()
    update_metrics(metrics, logits, batch)
    return [float(metrics.compute()["loss"])]


def scalar_gradient(name: str) -> list[float]:
    """The deviation from the straight line that the recurrent weight gives."""
    found = _linear(1, "pytorch")
    norms = np.array(found["gradient_norm"]["h"]["log10_mean"])
    line = norms[0] + np.arange(len(norms)) * math.log10(found["spectral_radius"]["h"])
    return [float(np.abs(norms - line).max())]


def orthogonal_gradient(name: str) -> list[float]:
    """How far the largest norm is above the smallest."""
    return [float(np.ptp(_linear(16, "orthogonal")["gradient_norm"]["h"]["log10_mean"]))]


def _linear(units: int, initialization: str) -> Mapping[str, Any]:
    """What the probe finds of a linear recurrence on the adding problem."""
    found = probe(
        "adding[length=60]",
        "rnn",
        hidden_size=units,
        activation="identity",
        initialization=initialization,
        progress=False,
    )
    return found.layers[0]


def optimal_bits_of_counting(name: str) -> list[float]:
    """The optimum on the source's test sets: sizes from the largest of its 500 training strings on, which is 20."""
    language = name.removeprefix("bits-")
    task = tasks().get("counting").load()(language=language)
    grammar = task.grammar
    one = torch.arange(21, 1021)[:, None]
    two = torch.cartesian_prod(torch.arange(23, 72), torch.arange(23, 72))
    sizes = one if grammar.sizes == 1 else two
    return [float(grammar.bits(sizes).sum() / grammar.steps(sizes).sum())]


def optimal_bits_of_dyck(name: str) -> list[float]:
    """The optimum on 50,000 strings of the source's grammar, with a standard error of .0016."""
    return [tasks().get("dyck").load()(expand=0.3, pairs=100, evaluation_size=50_000).baseline("optimal")["bits"]]


def lorenz_exponents(name: str) -> list[float]:
    """The mean logarithm of the volume that one sample's map keeps, by central differences along a trajectory."""
    task = tasks().get("dynamics").load().from_variant("standard")
    system = task.system
    states = system.trajectories(np.random.default_rng(0).random((1, system.drawn)), 400)[0].T
    step = 1e-5
    moved = [
        (system.following(states + step * unit[:, None]) - system.following(states - step * unit[:, None])) / (2 * step)
        for unit in np.eye(len(states))
    ]
    jacobians: ndarray = np.stack(moved).transpose(2, 1, 0)
    return [float(np.log(np.abs(np.linalg.det(jacobians))).mean() / system.spacing)]


def even_process(name: str) -> list[float]:
    """The entropy of the sixteenth symbol given fifteen, of the exact distribution of blocks."""
    # From A a 0 leads back and a 1 to B, alike; from B a 1 leads back.
    moves = np.array([[[0.5, 0.0], [0.0, 0.0]], [[0.0, 0.5], [1.0, 0.0]]])
    start = np.array([2 / 3, 1 / 3])

    def entropy(length: int) -> float:
        blocks = {(): start}
        for _ in range(length):
            blocks = {
                (*block, symbol): state @ moves[symbol]
                for (block, state), symbol in itertools.product(blocks.items(), (0, 1))
                if (state @ moves[symbol]).sum() > 0
            }
        chances = np.array([state.sum() for state in blocks.values()])
        return float(-(chances * np.log2(chances)).sum())

    return [entropy(16) - entropy(15)]


def principal_components(name: str) -> list[float]:
    """The baseline of the task at that size of the code."""
    size = int(name.removeprefix("pca-"))
    return [tasks().get("reconstruct").load()(data="digits", code_limit=size).baseline("pca")["mse"]]
