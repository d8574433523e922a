"""All models on all task variants at a glance: scores, and an overall one where it is fair to give one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from rnnae_bench.rankings.standing import Entry, Standing
from rnnae_bench.statistics import profiles, stratified
from rnnae_bench.statistics.estimates import Estimate

_THRESHOLDS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Overview:
    """Models x task variants."""

    settings: tuple[str, ...]
    models: tuple[str, ...]
    """Best first; those without an overall score last."""
    scores: dict[tuple[str, str], Estimate]
    """By (model, setting): that of the model without overrides where there is one, of its best entry otherwise."""
    overall: dict[str, Estimate]
    """By model: mean over the counted settings of the score."""
    counted: dict[str, tuple[str, ...]]
    """By model: the settings that its overall score is over; the same for all models it can be compared with."""
    missing: dict[str, tuple[str, ...]]
    """By model: counted settings without a ranked entry; whoever misses one has no overall score."""
    profiles: dict[str, tuple[ndarray, ndarray, ndarray, ndarray]]
    """By model: score, fraction of trials above it, lower and upper end of its band."""


def overview(standings: Sequence[Standing]) -> Overview:
    """All models on all task variants.

    An overall score is only over settings that all models it is compared with have as well: models that share
    settings, directly or through others, form a group; the settings counted in it are those where half of its models
    or more have a ranked entry; a model that misses one of them has no overall score.
    """
    settings = tuple(standing.setting for standing in standings)
    chosen: dict[tuple[str, str], tuple[Standing, Entry]] = {}
    for standing in standings:
        for entry in standing.entries:
            if entry.score is None:
                continue
            place = (entry.row.model, standing.setting)
            if place not in chosen or _preference(entry) < _preference(chosen[place][1]):
                chosen[place] = (standing, entry)
    models = sorted({model for model, _ in chosen})
    counted, missing = {}, {}
    ranked = {place for place, (_, entry) in chosen.items() if entry.unranked is None}
    for group, shared in _groups(models, chosen):
        core = tuple(
            setting
            for setting in settings
            if setting in shared and 2 * sum((model, setting) in ranked for model in group) >= len(group)
        )
        for model in group:
            counted[model] = core
            missing[model] = tuple(setting for setting in core if (model, setting) not in ranked)
    overall, curves = {}, {}
    for model in models:
        if counted[model] and not missing[model]:
            strata = [list(s.scores(e).values()) for s, e in (chosen[model, setting] for setting in counted[model])]
            overall[model] = stratified.mean(strata)
            curves[model] = (_THRESHOLDS, *profiles.performance_profile(strata, _THRESHOLDS))
    models.sort(key=lambda model: (-overall[model].value if model in overall else np.inf, model))
    return Overview(
        settings=settings,
        models=tuple(models),
        scores={place: entry.score for place, (_, entry) in chosen.items() if entry.score is not None},
        overall=overall,
        counted=counted,
        missing=missing,
        profiles=curves,
    )


def _preference(entry: Entry) -> tuple[bool, bool]:
    return (entry.unranked is not None, entry.row.is_varied)


def _groups(models: Sequence[str], chosen: Iterable[tuple[str, str]]) -> list[tuple[list[str], set[str]]]:
    """Models that share settings, directly or through others, with all the settings that they have."""
    groups: list[tuple[list[str], set[str]]] = []
    for model in models:
        members, shared = [model], {setting for one, setting in chosen if one == model}
        for other in [group for group in groups if group[1] & shared]:
            groups.remove(other)
            members, shared = members + other[0], shared | other[1]
        groups.append((members, shared))
    return groups
