"""Whether a probe leaves the trial as it is: what it may not touch, and that the result is the same to the bit."""

import numpy as np

from rnnae_bench.testing.forms import require
from rnnae_bench.testing.of_probes.candidate import ProbeCandidate
from rnnae_bench.testing.of_probes.traces import checks_draw, first_difference

_EARLIER = {
    "batch": (),
    "random numbers": (),
    "modes": (),
    "process": (),
    "ending": (),
    "gradients": ("batch", "random numbers", "modes", "process"),
    "weights": ("batch", "random numbers", "modes", "process", "gradients"),
    "optimiser": ("batch", "random numbers", "modes", "process", "gradients", "weights"),
}
"""What, where it differs at the same moment, is why something else does."""


def _left(candidate: ProbeCandidate, what: str, told: str) -> str:
    """What was seen of one thing; `AssertionError` where it is the first that differs with the probe."""
    when, different = first_difference(candidate.plain.moments, candidate.probed.moments)
    blamed = what in different and not any(one in different for one in _EARLIER[what])
    require(not blamed, f"with the probe {told} {when}")
    return f"the same at {len(candidate.probed.moments)} moments"


def batches(candidate: ProbeCandidate) -> str:
    """Does it leave the training batches as they are?"""
    return _left(candidate, "batch", "the batch is another: change a copy of it,")


def random_numbers(candidate: ProbeCandidate) -> str:
    """Does it leave torch's, numpy's and Python's random numbers as they are?"""
    told = "random numbers were drawn or a seed was set: draw from a generator of the probe's own, or within "
    found = _left(candidate, "random numbers", f"{told}rnnae_bench.evaluating(module);")
    return f"{found}; Python's are not looked at, since beartype draws from them" if checks_draw() else found


def modes(candidate: ProbeCandidate) -> str:
    """Does it leave the model in training or evaluation mode, each module as it was?"""
    told = "modules are in another mode: run the model within rnnae_bench.evaluating(module);"
    return _left(candidate, "modes", told)


def process(candidate: ProbeCandidate) -> str:
    """Does it leave settings of the whole process as they are: formats, threads, gradients, the environment?"""
    return _left(candidate, "process", "a setting of torch, numpy or the process is another")


def gradients(candidate: ProbeCandidate) -> str:
    """Does it leave the gradients as they are?"""
    told = "the gradients are others: read weight.grad, and differentiate by torch.autograd.grad, which adds to none;"
    return _left(candidate, "gradients", told)


def weights(candidate: ProbeCandidate) -> str:
    """Does it leave weights and buffers as they are, and which of them are trained?"""
    return _left(candidate, "weights", "weights or buffers are others, or are not trained any more,")


def optimiser(candidate: ProbeCandidate) -> str:
    """Does it leave the optimiser as it is: rates, and what it keeps?"""
    return _left(candidate, "optimiser", "the optimiser's settings or state are others")


def ending(candidate: ProbeCandidate) -> str:
    """Does it leave it to the protocol when the training ends?"""
    return _left(candidate, "ending", "the training is told to end at another step (trainer.should_stop, max_steps),")


def results(candidate: ProbeCandidate) -> str:
    """Is the result the same to the bit with the probe and without: metrics, losses, all histories, the id?"""
    plain, probed = candidate.plain, candidate.probed
    record, other = plain.record, probed.record
    require(other.id == record.id, "the record's id is another with the probe")
    require(
        other.status == record.status,
        f"the trial ends as {record.status} without the probe, and as {other.status} with it"
        + (f": {other.failure.message}" if other.failure else ""),
    )
    for name, values in record.metrics.items():
        require(
            other.metrics.get(name) == values,
            f"with the probe the metrics on {name} are {other.metrics.get(name)}, and {values} without it",
        )
    for name, one in plain.series.items():
        same = name in probed.series and np.array_equal(one.values, probed.series[name].values, equal_nan=True)
        require(same, f"with the probe the history of {name} is another")
    lost = [name for name in other.absent if name not in record.absent and not _is_own(candidate, name)]
    require(not lost, f"with the probe {', '.join(lost)} is not measured: {other.absent.get(lost[0]) if lost else ''}")
    return f"{len(record.metrics)} sets, {len(plain.series)} histories"


def _is_own(candidate: ProbeCandidate, name: str) -> bool:
    return name.partition("/")[0] == candidate.added.probe_class.subject
