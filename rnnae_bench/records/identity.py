"""What makes two trials one, and what makes the records of several trials one row."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from rnnae_bench.records.record import Record

VERSION = 1
"""The rule by which ids are made; another form of the record does not change it."""

LAYOUT = ("accelerator", "strategy", "devices", "num_nodes", "precision", "profiler")
"""Options of the trainer that stand in a trial's layout, as far as they determine its result."""


def row_key(record: Record, any_layout: bool = False) -> str:
    """What makes two records one row: all that determines their results, but the seeds.

    Args:
        record: The record.
        any_layout: Whether those in another precision or on another number of devices belong to it too.
    """
    configuration, there = record.configuration, record.environment
    trainer = {key: value for key, value in configuration.trainer.items() if not (any_layout and key in LAYOUT)}
    layout = there.layout[:1] if any_layout else there.layout
    key = [record.task, record.variant, record.model, configuration.task, configuration.model, trainer]
    return json.dumps([*key, there.plugins, layout], sort_keys=True)


def identity(
    task: str,
    model: str,
    configuration: Mapping[str, Mapping[str, Any]],
    layout: Mapping[str, Any],
    seeds: tuple[int, int],
    plugins: Mapping[str, str],
) -> str:
    """A record's id: the content hash of what determines its result, 16 hexadecimal digits.

    Args:
        task: ``NAME:VARIANT``.
        model: The model's name.
        configuration: All options of task, model and trainer.
        layout: Accelerator, number of devices, Lightning's strategy and precision.
        seeds: The seed and the data seed.
        plugins: The distributions of task and model, with their versions.
    """
    trainer = {key: value for key, value in configuration["trainer"].items() if key not in LAYOUT}
    content = {
        "schema": VERSION,
        "task": task,
        "model": model,
        "configuration": {**configuration, "trainer": trainer},
        "layout": layout,
        "seed": seeds,
        "plugins": plugins,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
