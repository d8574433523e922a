"""Variables by which whatever starts processes (torchrun, SLURM, Lightning) tells each that it is one of several."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NAMES = {
    *("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),
    *("LSB_JOBID", "LSB_DJOB_RANKFILE", "LSB_HOSTS", "LSB_MCPU_HOSTS"),
}
_PREFIXES = ("SLURM_", "TORCHELASTIC_", "JSM_NAMESPACE_")


def is_of_launcher(name: str) -> bool:
    """Whether an environment variable of this name tells a process that it is one of several."""
    return name in _NAMES or name.startswith(_PREFIXES)


def rank() -> int:
    """Which of several processes this one is by its environment; 0 where that says nothing."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", 0))))


@contextmanager
def hidden(is_hidden: Callable[[str], bool]) -> Iterator[None]:
    """Within, the environment lacks the variables of some names."""
    taken = {name: os.environ.pop(name) for name in list(os.environ) if is_hidden(name)}
    try:
        yield
    finally:
        os.environ.update(taken)
