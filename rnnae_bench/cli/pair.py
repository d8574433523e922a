"""From the names of a task and a model to their classes."""

from typing import TYPE_CHECKING

from rnnae_bench.cli.libraries import load_libraries
from rnnae_bench.cli.output import plugins_aside
from rnnae_bench.plugins.registry import models, parse_task, tasks

if TYPE_CHECKING:
    from rnnae_bench.trial.pair import Pair


def load_pair(task: str, model: str) -> "Pair":
    """The pair of that name; names are looked up before anything heavy is imported.

    Raises:
        UserError: unknown names, a torchvision that does not fit torch, or what `Pair` refuses.
    """
    tasks().get(parse_task(task)[0])
    models().get(model)
    load_libraries()
    from rnnae_bench.trial.pair import Pair

    with plugins_aside():
        return Pair(task, model)
