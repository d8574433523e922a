"""What this installation has against a record, which may be another's."""

from collections.abc import Mapping

from msgspec import to_builtins

from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.errors import UserError
from rnnae_bench.probes.cost import trained_numbers
from rnnae_bench.records.identity import identity
from rnnae_bench.records.record import Record
from rnnae_bench.trial.pair import changed
from rnnae_bench.trial.rebuild import pair_of, require_plain, resolved
from rnnae_bench.trial.trial import Trial

_LAYOUT = ("accelerator", "strategy", "devices", "num_nodes")

_STRATEGIES = ("SingleDeviceStrategy", "DDPStrategy", "FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy")
"""Lightning's, one of which is in a record's id though not in its text."""


def objections(record: Record) -> tuple[list[str], list[str]]:
    """What this installation has against a record: data, metric, options, size and id that are not what they say.

    The record's task is set up, and its model built without memory for its weights; nothing is trained.

    Returns:
        Why the record can't be true, and what could not be checked.
    """
    try:
        pair = pair_of(record)
        configuration = to_builtins(record.configuration)
        require_plain(pair, configuration)
        trainer = {name: value for name, value in record.configuration.trainer.items() if name not in _LAYOUT}
        options = resolved(pair, record, {**configuration, "trainer": {**trainer, "accelerator": "cpu"}})
        own = changed({part: options[part] for part in ("task", "model")}, pair.defaults)
        left = [option for option in own if option.startswith("task.")]
        if left:
            return [f"its configuration leaves the frozen variant in {', '.join(left)}, and it does not say so"], []
        trial = Trial(pair, options, record.seed, record.data_seed, may_be_skipped=True)
    except UserError as error:
        return [str(error)], []
    found = [*_other_data(record, trial), *_other_size(record, trial), *_other_training(record, trial)]
    stated = {key: value for key, value in record.overrides.items() if key.startswith(("task.", "model."))}
    if stated != own:
        found.append(
            f"it says that it differs from the defaults in {stated or 'nothing'}, and does in {own or 'nothing'}"
        )
    if not _is_its_id(record):
        found.append(f"its id is {record.id}, which is not that of what it says of itself")
    return found, _other_versions(record.environment.plugins, trial.determinants.plugins)


def _is_its_id(record: Record) -> bool:
    """Whether the id is the content hash of what the record says, in the versions that it was made with."""
    there = record.environment
    layout = {"accelerator": there.accelerator, "devices": there.devices, "precision": there.precision}
    return any(
        record.id
        == identity(
            f"{record.task}:{record.variant}",
            record.model,
            to_builtins(record.configuration),
            {**layout, "strategy": strategy},
            (record.seed, record.data_seed),
            there.plugins,
        )
        for strategy in _STRATEGIES
    )


def _other_versions(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    return [
        f"made with {name} {there.get(name, '(none)')}, and checked with {here.get(name, '(none)')}"
        for name in sorted({**there, **here})
        if there.get(name) != here.get(name)
    ]


def _other_data(record: Record, trial: Trial) -> list[str]:
    versions = ""
    if None not in (record.data_version, trial.data_version) and record.data_version != trial.data_version:
        versions = f"; of the data version {record.data_version}, here {trial.data_version}"
    found = [
        f"its {name} data are not those of {trial.pair.label} ({record.fingerprints.get(name)}, here {here}{versions})"
        for name, here in trial.fingerprints.items()
        if record.fingerprints.get(name) != here
    ]
    primary, stated = trial.pair.variant.primary, record.primary
    scale = primary.scale(trial.baselines)
    card = {
        "metric": primary.metric,
        "direction": primary.direction,
        "floor_baseline": primary.floor if isinstance(primary.floor, str) else None,
        "floor": scale.floor,
        "ceiling_baseline": primary.ceiling if isinstance(primary.ceiling, str) else None,
        "ceiling": scale.ceiling,
        "solved_at": primary.solved,
    }
    found += [
        f"its {name} is {getattr(stated, name)}, and the task's is {here}"
        for name, here in card.items()
        if getattr(stated, name) != here
    ]
    if record.baselines != trial.baselines:
        found.append("its baselines are not the task's")
    return found


def _other_training(record: Record, trial: Trial) -> list[str]:
    steps = record.measures.steps
    if record.status != "ok" or (steps == 0) == trial.fits_itself:
        return []
    here = "trains itself by its fit" if trial.fits_itself else "is trained by an optimiser"
    return [f"it took {steps} optimiser steps, and its model {here}"]


def _other_size(record: Record, trial: Trial) -> list[str]:
    if record.status != "ok" or trial.unsupported is not None:
        return []
    try:
        model = trial.build_without_weights()
    except UserError as error:
        return [str(error)]
    if not isinstance(model, BenchModule):
        return []
    weights = trained_numbers(model)
    stated = record.measures.parameters
    return [] if stated == weights else [f"it has {stated} weights, and its model {weights}"]
