"""Probes: Lightning callbacks that measure a trial and never change its training."""

from rnnae_bench.probes.base import Diverged, Probe, StepBuffer
from rnnae_bench.probes.cost import Cost
from rnnae_bench.probes.evaluating import evaluating
from rnnae_bench.probes.evaluation import Evaluation, NoPrediction
from rnnae_bench.probes.examples import ExampleScores
from rnnae_bench.probes.gradient_flow import GradientFlow
from rnnae_bench.probes.gradient_norms import GradientNorms
from rnnae_bench.probes.samples import Samples
from rnnae_bench.probes.training_curve import TrainingCurve
from rnnae_bench.probes.underflow import Underflow
from rnnae_bench.training.optimizer_steps import OptimizerSteps

__all__ = [
    "Cost",
    "Diverged",
    "Evaluation",
    "ExampleScores",
    "GradientFlow",
    "GradientNorms",
    "NoPrediction",
    "OptimizerSteps",
    "Probe",
    "Samples",
    "StepBuffer",
    "TrainingCurve",
    "Underflow",
    "evaluating",
]
