"""rnnae-bench: which recurrent network or autoencoder is better at what, and why.

The names below are loaded when first used, so importing this package never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rnnae_bench.contracts.batch import Batch
    from rnnae_bench.contracts.card import Card, Protocol, Variant
    from rnnae_bench.contracts.encoder_decoder import EncoderDecoder
    from rnnae_bench.contracts.model import Autoencoder, BenchModule, SequenceModel
    from rnnae_bench.contracts.optimization import Optimization
    from rnnae_bench.contracts.rollout import rollout
    from rnnae_bench.contracts.sequence_autoencoder import SequenceAutoencoder
    from rnnae_bench.contracts.spec import Classes, Images, Static, TaskSpec, Tokens, Values, Vectors
    from rnnae_bench.contracts.state_size import Growing
    from rnnae_bench.contracts.task import Task
    from rnnae_bench.records.frame import frame
    from rnnae_bench.training.loss_terms import Loss

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
    "Protocol": "rnnae_bench.contracts.card",
    "SequenceAutoencoder": "rnnae_bench.contracts.sequence_autoencoder",
    "SequenceModel": "rnnae_bench.contracts.model",
    "Static": "rnnae_bench.contracts.spec",
    "Task": "rnnae_bench.contracts.task",
    "TaskSpec": "rnnae_bench.contracts.spec",
    "Tokens": "rnnae_bench.contracts.spec",
    "Values": "rnnae_bench.contracts.spec",
    "Variant": "rnnae_bench.contracts.card",
    "Vectors": "rnnae_bench.contracts.spec",
    "frame": "rnnae_bench.records.frame",
    "rollout": "rnnae_bench.contracts.rollout",
}

__all__ = [
    "Autoencoder",
    "Batch",
    "BenchModule",
    "Card",
    "Classes",
    "EncoderDecoder",
    "Growing",
    "Images",
    "Loss",
    "Optimization",
    "Protocol",
    "SequenceAutoencoder",
    "SequenceModel",
    "Static",
    "Task",
    "TaskSpec",
    "Tokens",
    "Values",
    "Variant",
    "Vectors",
    "frame",
    "rollout",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rnnae_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
