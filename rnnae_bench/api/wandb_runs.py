"""Runs on Weights & Biases, as results for as long as they are needed."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rnnae_bench.api.reading import load, of_tasks
from rnnae_bench.api.results import Results
from rnnae_bench.leaderboard.trackers import wandb_client
from rnnae_bench.records.store import Store


@contextmanager
def fetched(names: Sequence[object], task: str | Sequence[str]) -> Iterator[list[Results | None]]:
    """The records of those names that are a run's; their files are removed in the end.

    Args:
        names: What may be ``wandb:ENTITY/PROJECT/RUN``.
        task: Only on these, as `load` takes them.

    Yields:
        One result a run, in the place of its name; None in that of another name.

    Raises:
        UserError: a name is malformed (then nothing is fetched), W&B can't be reached, or a run has no record that can
            be trusted, or none of these tasks.
    """
    runs = [name if isinstance(name, str) and wandb_client.is_run(name) else None for name in names]
    for run in filter(None, runs):
        wandb_client.parse_run(run)
    if not any(runs):
        yield [None] * len(runs)
        return
    from rnnae_bench.leaderboard.trackers.wandb_fetch import fetch_run

    api = wandb_client.connect(reading=True)
    with tempfile.TemporaryDirectory(prefix="rnnae-bench-") as folder:
        found: list[Results | None] = []
        for place, name in enumerate(runs):
            # Each in a folder of its own: two projects may have different records of one trial.
            store = Store(Path(folder) / str(place))
            if name is None:
                found.append(None)
            else:
                fetch_run(api, name, store)
                found.append(of_tasks(load(store.folder), task, name))
        yield found
