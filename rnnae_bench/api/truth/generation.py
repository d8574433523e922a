"""A recurrent network that makes a waveform out of nothing, as in the paper of the clockwork network."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from rnnae_bench.contracts.model import SequenceModel
from rnnae_bench.contracts.spec import TaskSpec, Values, Vectors
from rnnae_bench.models.clockwork import Clockwork
from rnnae_bench.models.recurrent import RNN

SAMPLES = 320
_SPEC = TaskSpec(task="generation", inputs=Vectors(1, SAMPLES), outputs=Values(1), predicts="every step", causal=True)
_STEPS, _PEAK_RATE = 1500, 0.01


def waveform() -> Float[Tensor, " samples"]:
    """A chord of three decaying tones with two overtones each, 320 samples between -1 and 1."""
    time = torch.arange(SAMPLES) / SAMPLES
    sound = torch.zeros(SAMPLES)
    for cycles, decay in ((3.0, 1.0), (7.3, 2.0), (12.1, 3.0)):
        for overtone in (1, 2, 3):
            sound += torch.sin(2 * math.pi * overtone * cycles * time + overtone) * torch.exp(-decay * time) / overtone
    return sound / sound.abs().max()


def error_of_clockwork(name: str) -> list[float]:
    """NMSE of a clockwork network of 27 units in nine modules, 469 weights; `name` is the row's."""
    torch.manual_seed(0)
    return [_error(Clockwork(_SPEC, hidden_size=27, modules=9))]


def error_of_rnn(name: str) -> list[float]:
    """NMSE of a tanh network of 20 units, 481 weights; `name` is the row's."""
    torch.manual_seed(0)
    return [_error(RNN(_SPEC, hidden_size=20))]


def _error(model: SequenceModel) -> float:
    """Mean squared error over the variance of the waveform, after Adam with a rate that falls along a half cosine."""
    target, nothing = waveform(), torch.zeros(1, SAMPLES, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=_PEAK_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss = (model(nothing, None)[0, :, 0] - target).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return float((model(nothing, None)[0, :, 0] - target).square().mean() / target.var(correction=0))
