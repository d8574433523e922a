"""Losses and metrics that several tasks share, and how any metric is updated with a batch.

Losses are means over rows, as a task's must be. Metrics keep sums and counts, so that batches and devices add up. Both
leave out the steps that do not count: padding, by the batch's lengths, and what its mask leaves out.
"""

from rnnae_bench.metrics.bits import BitsPerSymbol as BitsPerSymbol
from rnnae_bench.metrics.codes import CodeKnowledge as CodeKnowledge
from rnnae_bench.metrics.codes import clustering_accuracy as clustering_accuracy
from rnnae_bench.metrics.codes import linear_probe as linear_probe
from rnnae_bench.metrics.detection import AveragePrecision as AveragePrecision
from rnnae_bench.metrics.detection import Detection as Detection
from rnnae_bench.metrics.detection import PercentileThreshold as PercentileThreshold
from rnnae_bench.metrics.detection import RocAuc as RocAuc
from rnnae_bench.metrics.detection import roc_auc_of_rows as roc_auc_of_rows
from rnnae_bench.metrics.forecasts import RootSquaredError as RootSquaredError
from rnnae_bench.metrics.forecasts import ValidTime as ValidTime
from rnnae_bench.metrics.forecasts import valid_steps as valid_steps
from rnnae_bench.metrics.images import StructuralSimilarity as StructuralSimilarity
from rnnae_bench.metrics.images import structural_similarity as structural_similarity
from rnnae_bench.metrics.lengths import longest_solved as longest_solved
from rnnae_bench.metrics.losses import counted_steps as counted_steps
from rnnae_bench.metrics.losses import cross_entropy as cross_entropy
from rnnae_bench.metrics.losses import squared_error as squared_error
from rnnae_bench.metrics.losses import summed_cross_entropy as summed_cross_entropy
from rnnae_bench.metrics.mean import Mean as Mean
from rnnae_bench.metrics.moments import Capacity as Capacity
from rnnae_bench.metrics.moments import NormalizedError as NormalizedError
from rnnae_bench.metrics.scaled_errors import AbsolutePercentageError as AbsolutePercentageError
from rnnae_bench.metrics.scaled_errors import AbsoluteScaledError as AbsoluteScaledError
from rnnae_bench.metrics.scaled_errors import SymmetricPercentageError as SymmetricPercentageError
from rnnae_bench.metrics.scaled_errors import seasonal_naive_error as seasonal_naive_error
from rnnae_bench.metrics.steps import Accuracy as Accuracy
from rnnae_bench.metrics.steps import BalancedCrossEntropy as BalancedCrossEntropy
from rnnae_bench.metrics.steps import CrossEntropy as CrossEntropy
from rnnae_bench.metrics.steps import ErrorRate as ErrorRate
from rnnae_bench.metrics.steps import SquaredError as SquaredError
from rnnae_bench.metrics.update import update_metrics as update_metrics
from rnnae_bench.metrics.variance import VarianceExplained as VarianceExplained
