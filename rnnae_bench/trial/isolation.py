"""Keeps what lies around a trial from having a say in its result: variables, files, and settings of the process.

What is not in a trial's id must not decide what comes out of it. Lightning takes options of its Trainer from variables
(``PL_TRAINER_...``), and under SLURM resumes from a checkpoint that it finds in its folder, and writes one there on a
signal. Whatever starts processes tells each by variables that it is one of several. A plugin or an earlier trial may
have left settings of PyTorch changed.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero

from rnnae_bench.errors import UserError
from rnnae_bench.trial.launchers import hidden, is_of_launcher
from rnnae_bench.trial.process_state import fresh_process

_ARITHMETIC: dict[str, dict[str, tuple[str, ...]]] = {
    "cuda": {"NVIDIA_TF32_OVERRIDE": ()},
    "cpu": {"ONEDNN_DEFAULT_FPMATH_MODE": ("STRICT",), "DNNL_DEFAULT_FPMATH_MODE": ("STRICT",)},
}
"""Variables by which libraries compute in another precision than asked for, with the values that leave it."""


@contextmanager
def undisturbed(alone: bool) -> Iterator[Path]:
    """Within, a trial runs as it would in a fresh process with nothing around it.

    Args:
        alone: Whether the trial runs in one process, so that what a launcher says of several does not hold for it.

    Yields:
        An empty folder for Lightning's own files, which is gone afterwards.
    """
    with (
        fresh_process(environment=alone),
        hidden_variables(alone),
        tempfile.TemporaryDirectory(prefix="rnnae-bench-", ignore_cleanup_errors=True) as folder,
    ):
        if alone:
            be_first_process()
        yield Path(folder)


def hidden_variables(alone: bool) -> AbstractContextManager[None]:
    """Without the variables that Lightning takes options from and, where a trial is alone, those of launchers."""
    return hidden(lambda name: name.startswith("PL_") or (alone and is_of_launcher(name)))


def be_first_process() -> None:
    """Have Lightning take this for the process that prints and logs, whatever the environment said at its import."""
    only: Any = rank_zero.rank_zero_only  # type: ignore[attr-defined]
    only.rank = 0


def never_requeue(trainer: Trainer) -> None:
    """Have no signal of SLURM's make Lightning write a checkpoint and start the job again."""
    cluster = getattr(trainer.strategy, "cluster_environment", None)
    if isinstance(cluster, SLURMEnvironment):
        cluster.auto_requeue = False


def require_own_arithmetic(accelerator: str) -> None:
    """Raise `UserError` where the environment has libraries compute in another precision than a trial asks for."""
    for name, harmless in _ARITHMETIC.get(accelerator, {}).items():
        value = os.environ.get(name)
        if value and value.upper() not in harmless:
            raise UserError(
                f"{name}={value} in the environment changes how precisely products are computed, whatever "
                "--trainer.precision says, and no record would tell; unset it"
            )
