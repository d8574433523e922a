"""How many trials this machine can run at once, and with how many CPU threads each."""

import os
from pathlib import Path

import psutil

from rnnae_bench.errors import UserError
from rnnae_bench.trial import environment

WORKER_BYTES = 900 * 2**20
"""Memory of a worker with torch and a small trial; measured 600 to 800 MiB resident."""


def memory() -> int:
    """Bytes that are free for use, in this container or on this machine."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        return free if limit == "max" else min(free, int(limit) - used)
    except (OSError, ValueError):
        return free


def gpus() -> tuple[str, ...]:
    """The NVIDIA GPUs that this process may use, as for ``CUDA_VISIBLE_DEVICES``; found without CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(one.strip() for one in visible.split(",") if one.strip() not in ("", "-1"))
    found = Path("/proc/driver/nvidia/gpus")
    return tuple(str(place) for place in range(len(list(found.iterdir())))) if found.is_dir() else ()


def workers(asked: int | None, threads: int, gpus: tuple[str, ...], gpus_per_trial: float, trials: int) -> int:
    """How many workers to have.

    On the CPU one for every `threads` cores, as long as memory allows: two workers of one thread beat one of two
    threads by 2.7 times on 16 units, by 1.3 on a GRU of 128, and by 1.07 on an LSTM of 128 (trials a minute, two
    hyper-threads). On GPUs as many as they hold.

    Args:
        asked: What the user wants; None leaves it to the rule.
        threads: CPU threads of each.
        gpus: As of `gpus`; empty to run on the CPU.
        gpus_per_trial: Share of a GPU that a trial takes.
        trials: How many there are to run.

    Raises:
        UserError: `gpus_per_trial` is more than there are.
    """
    if gpus and gpus_per_trial > len(gpus):
        raise UserError(f"--gpus-per-trial {gpus_per_trial:g}: this machine has {len(gpus)} GPU(s)")
    if asked is not None:
        return asked
    fit = int(len(gpus) / gpus_per_trial) if gpus else max(1, (environment.cores() or 1) // threads)
    return max(1, min(fit, memory() // WORKER_BYTES, trials))
