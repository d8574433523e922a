"""rnnae-bench: which recurrent network or autoencoder is better at what, and why.

The names below are loaded when first used, so importing this package never imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rnnae_bench.card import Card, Protocol, Variant
    from rnnae_bench.module import Autoencoder, BenchModule, Optimization, SequenceModel
    from rnnae_bench.results.frame import frame
    from rnnae_bench.spec import Classes, Images, TaskSpec, Tokens, Values, Vectors
    from rnnae_bench.task import Batch, Task

_HOME = {
    "Autoencoder": "rnnae_bench.module",
    "Batch": "rnnae_bench.task",
    "BenchModule": "rnnae_bench.module",
    "Card": "rnnae_bench.card",
    "Classes": "rnnae_bench.spec",
    "Images": "rnnae_bench.spec",
    "Optimization": "rnnae_bench.module",
    "Protocol": "rnnae_bench.card",
    "SequenceModel": "rnnae_bench.module",
    "Task": "rnnae_bench.task",
    "TaskSpec": "rnnae_bench.spec",
    "Tokens": "rnnae_bench.spec",
    "Values": "rnnae_bench.spec",
    "Variant": "rnnae_bench.card",
    "Vectors": "rnnae_bench.spec",
    "frame": "rnnae_bench.results.frame",
}

__all__ = [
    "Autoencoder",
    "Batch",
    "BenchModule",
    "Card",
    "Classes",
    "Images",
    "Optimization",
    "Protocol",
    "SequenceModel",
    "Task",
    "TaskSpec",
    "Tokens",
    "Values",
    "Variant",
    "Vectors",
    "frame",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rnnae_bench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
