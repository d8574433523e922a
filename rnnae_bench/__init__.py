"""Which recurrent net or autoencoder is better at what, and why.

run("copy", "gru", seeds=3)     train: .record, .model, .frame(), .plot()
sweep("copy", ["gru", "lstm"])  many trials, in processes of their own
load("runs")                    what was measured before
compare("gru", "lstm")          who is better, and whether it is real
standings("runs")               the ranks that are compatible with the data
probe("copy", "gru")            Jacobians, exponents, gradients by lag
horizon("copy", "gru", seeds=5) the longest lag that is solved
figure("curves", "runs")        a figure for a paper

Models, tasks and probes of your own derive from SequenceModel,
Autoencoder, Task and Probe. Names are loaded when first used: importing
this imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rnnae_bench.api.comparing import compare as compare
    from rnnae_bench.api.comparing import standings as standings
    from rnnae_bench.api.figures import figure as figure
    from rnnae_bench.api.horizons import horizon as horizon
    from rnnae_bench.api.probing import probe as probe
    from rnnae_bench.api.reading import load as load
    from rnnae_bench.api.running import run as run
    from rnnae_bench.api.sweeping import sweep as sweep
    from rnnae_bench.contracts.batch import Batch as Batch
    from rnnae_bench.contracts.card import Card as Card
    from rnnae_bench.contracts.card import Protocol as Protocol
    from rnnae_bench.contracts.card import Variant as Variant
    from rnnae_bench.contracts.encoder_decoder import EncoderDecoder as EncoderDecoder
    from rnnae_bench.contracts.model import Autoencoder as Autoencoder
    from rnnae_bench.contracts.model import BenchModule as BenchModule
    from rnnae_bench.contracts.model import SequenceModel as SequenceModel
    from rnnae_bench.contracts.optimization import Optimization as Optimization
    from rnnae_bench.contracts.rollout import rollout as rollout
    from rnnae_bench.contracts.sequence_autoencoder import SequenceAutoencoder as SequenceAutoencoder
    from rnnae_bench.contracts.spec import Classes as Classes
    from rnnae_bench.contracts.spec import Images as Images
    from rnnae_bench.contracts.spec import Static as Static
    from rnnae_bench.contracts.spec import TaskSpec as TaskSpec
    from rnnae_bench.contracts.spec import Tokens as Tokens
    from rnnae_bench.contracts.spec import Values as Values
    from rnnae_bench.contracts.spec import Vectors as Vectors
    from rnnae_bench.contracts.state_size import Growing as Growing
    from rnnae_bench.contracts.task import Task as Task
    from rnnae_bench.probes.base import Probe as Probe
    from rnnae_bench.probes.base import StepBuffer as StepBuffer
    from rnnae_bench.probes.evaluating import evaluating as evaluating
    from rnnae_bench.records.frame import frame as frame
    from rnnae_bench.records.history import Series as Series
    from rnnae_bench.training.loss_terms import Loss as Loss
    from rnnae_bench.training.optimizer_steps import OptimizerSteps as OptimizerSteps

_HOME = {
    "Autoencoder": "rnnae_bench.contracts.model",
    "Batch": "rnnae_bench.contracts.batch",
    "BenchModule": "rnnae_bench.contracts.model",
    "Card": "rnnae_bench.contracts.card",
    "Classes": "rnnae_bench.contracts.spec",
    "EncoderDecoder": "rnnae_bench.contracts.encoder_decoder",
    "Growing": "rnnae_bench.contracts.state_size",
    "Images": "rnnae_bench.contracts.spec",
    "Loss": "rnnae_bench.training.loss_terms",
    "Optimization": "rnnae_bench.contracts.optimization",
    "OptimizerSteps": "rnnae_bench.training.optimizer_steps",
    "Probe": "rnnae_bench.probes.base",
    "Protocol": "rnnae_bench.contracts.card",
    "SequenceAutoencoder": "rnnae_bench.contracts.sequence_autoencoder",
    "SequenceModel": "rnnae_bench.contracts.model",
    "Series": "rnnae_bench.records.history",
    "Static": "rnnae_bench.contracts.spec",
    "StepBuffer": "rnnae_bench.probes.base",
    "Task": "rnnae_bench.contracts.task",
    "TaskSpec": "rnnae_bench.contracts.spec",
    "Tokens": "rnnae_bench.contracts.spec",
    "Values": "rnnae_bench.contracts.spec",
    "Variant": "rnnae_bench.contracts.card",
    "Vectors": "rnnae_bench.contracts.spec",
    "compare": "rnnae_bench.api.comparing",
    "evaluating": "rnnae_bench.probes.evaluating",
    "figure": "rnnae_bench.api.figures",
    "frame": "rnnae_bench.records.frame",
    "horizon": "rnnae_bench.api.horizons",
    "load": "rnnae_bench.api.reading",
    "probe": "rnnae_bench.api.probing",
    "rollout": "rnnae_bench.contracts.rollout",
    "run": "rnnae_bench.api.running",
    "standings": "rnnae_bench.api.comparing",
    "sweep": "rnnae_bench.api.sweeping",
}
"""The public names, and where each of them lives. There is no `__all__`, so that ``help`` fits a screen."""


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rnnae_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOME)
