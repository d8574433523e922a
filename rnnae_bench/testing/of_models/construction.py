"""How a model is made: from the spec alone, with weights that the seed fixes."""

import random

import numpy as np
import torch
from lightning import LightningModule

from rnnae_bench.contracts.batch import training_prediction
from rnnae_bench.testing.candidates import ModelCandidate
from rnnae_bench.testing.checks import NotAsked
from rnnae_bench.testing.forms import require
from rnnae_bench.testing.of_models.asking import in_mode


def construction(candidate: ModelCandidate) -> str:
    """Can it be made from the spec alone?"""
    missing = ", ".join(sorted(candidate.missing))
    require(not missing, f"a model must be constructible from the spec alone; give {missing} a default")
    model = candidate.build()
    require(isinstance(model, LightningModule), f"a model is a LightningModule, not a {type(model).__name__}")
    weights = [one for one in model.parameters() if one.requires_grad]
    if any(map(_is_lazy, weights)):
        return "weights that get their shapes at the first input"
    return f"{sum(one.numel() for one in weights):,} weights in {len(weights)} tensors"


def _is_lazy(weight: torch.Tensor) -> bool:
    return isinstance(weight, torch.nn.parameter.UninitializedParameter)


def first_weights(candidate: ModelCandidate) -> str:
    """Does the seed fix the first weights: the same under one seed, others under another?"""
    one, two, other = (candidate.build(seed) for seed in (0, 0, 1))
    learned = {name for name, weight in one.named_parameters() if weight.requires_grad and not _is_lazy(weight)}
    if not learned:
        raise NotAsked("it has no weights before its training")
    weights, same, different = (model.state_dict() for model in (one, two, other))
    renamed = sorted(weights.keys() ^ same.keys())
    require(
        not renamed,
        f"two models have tensors of different names, {', '.join(renamed[:3])}, so that neither loads the other's "
        "state_dict: name parts by their place in the model, not by a count over all models",
    )
    unlike = [name for name in weights if not _equal(weights[name], same[name])]
    require(
        not unlike,
        f"the same seed must give the same weights, and {', '.join(unlike[:3])} differ: draw them from the global "
        "generators (torch's, numpy's, Python's) only",
    )
    changed = [name for name in sorted(learned) if not _equal(weights[name], different[name])]
    if candidate.fits_itself:
        return f"equal under one seed; {len(changed)} of {len(learned)} tensors differ under another"
    require(
        bool(changed),
        "another seed must give other weights, and it gives the same: draw them from torch's global generator, and set "
        "no seed",
    )
    return f"equal under one seed; {len(changed)} of {len(learned)} tensors differ under another"


def _equal(one: torch.Tensor, two: torch.Tensor) -> bool:
    return _is_lazy(one) or (one.shape == two.shape and torch.equal(one, two))


def global_seeds(candidate: ModelCandidate) -> str:
    """Does it leave the global random generators to the trial: is no seed set in the forward pass?"""
    model, spec, batch = candidate.build(), candidate.spec, candidate.batch
    for training in (True, False):
        drawn = []
        for seed in (1, 2):
            with in_mode(model, training), torch.no_grad():
                torch.manual_seed(seed)
                np.random.seed(seed)
                random.seed(seed)
                if training:
                    training_prediction(model, batch, spec)
                else:
                    model(batch.inputs, batch.lengths)
                drawn.append({"torch": torch.rand(()).item(), "numpy": np.random.rand(), "Python": random.random()})
        reset = [name for name in drawn[0] if drawn[0][name] == drawn[1][name]]
        require(
            not reset,
            f"forward sets the seed of {' and '.join(reset)}, so that all that is random after it is the same in every "
            "trial: draw from the global generators, and leave their seeds alone",
        )
    return "torch's, numpy's and Python's go on as they were seeded"
