"""Trials that differ only in seeds and learning rate, trained as one: everything gets a leading model axis."""

from rnnae_bench.trial.vectorized.choice import reason_apart, worthwhile
from rnnae_bench.trial.vectorized.trial import VectorizedTrial

__all__ = ["VectorizedTrial", "reason_apart", "worthwhile"]
