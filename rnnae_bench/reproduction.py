"""From a record back to its trial: rebuilt from the record's data alone, checked against this installation, compared.

A record may be a stranger's. Nothing in it is executed: its configuration may only give plain values to options that
the registered task and model have, and the few of the trainer's that say where and how precisely to compute.
"""

import enum
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from rnnae_bench import environment
from rnnae_bench.configuration import Pair, changed
from rnnae_bench.errors import UserError
from rnnae_bench.module import BenchModule
from rnnae_bench.nested import flatten
from rnnae_bench.results.history import Series
from rnnae_bench.results.standing import standings
from rnnae_bench.statistics.estimates import t_quantile
from rnnae_bench.trial import Trial

ROUNDING = 1e-3
"""Relative difference up to which two numbers count as the same but for rounding, which training amplifies."""

_LAYOUT = ("accelerator", "strategy", "devices", "num_nodes")
_WORD = re.compile(r"[\w,-]*")
"""Trainer options in words, as ``ddp``; with a dot, it might be a class to import."""


def rebuild(record: Mapping[str, Any]) -> Trial:
    """The trial that a record tells of, checked and ready to run here.

    A record made on a CPU is rebuilt for the CPU, also where there is a GPU.

    Raises:
        UserError: the task, the model, a variant or an option is not there any more or not the record's to set, or the
            trial can't be run here.
    """
    pair = _pair(record)
    configuration = {part: dict(options) for part, options in record["configuration"].items()}
    if record["environment"]["accelerator"] == "cpu" and torch.cuda.is_available():
        configuration["trainer"]["accelerator"] = "cpu"
    return Trial(pair, _resolved(pair, record, configuration), record["seed"], record["data_seed"])


def _pair(record: Mapping[str, Any]) -> Pair:
    try:
        return _pair_of(f"{record['task']}:{record['variant']}", record["model"])
    except UserError as error:
        raise UserError(f"record {record['id']} can't be rebuilt here: {error}") from error


# A row's records share their pair, which takes 0.1 s to make and remembers the options it has checked.
_pair_of = lru_cache(maxsize=32)(Pair)


def _resolved(pair: Pair, record: Mapping[str, Any], configuration: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    try:
        _require_plain(pair, configuration)
        return pair.resolve(configuration)
    except UserError as error:
        raise UserError(f"record {record['id']} can't be rebuilt here: {error}") from error


def _require_plain(pair: Pair, configuration: Mapping[str, Any]) -> None:
    """Raise `UserError` for an option that there is not, or whose value could name code."""
    hints = {action.dest: _hint(action) for action in pair.parser._actions}
    defaults = flatten(pair.defaults)
    for option, value in flatten(configuration).items():
        section = next((one for one in _sections(option) if hints.get(one) is not None), None)
        if section is None or section.endswith((".name", ".help")):
            raise UserError(
                f"{pair.model_handle.name} on {pair.label} has no option {option}; it was removed or renamed since, "
                "so install the version that made the record"
            )
        if option in defaults and value == defaults[option]:
            continue
        if option.startswith("trainer."):
            plain = section.split(".")[1] not in ("profiler", "plugins") and _is_word(value)
        else:
            plain = _is_plain(hints[section])
        if not plain:
            raise UserError(f"its option {option} may name code to run ({str(value)[:60]!r}), and records may not")


def _sections(option: str) -> list[str]:
    """An option's dotted name, then the options that it may lie within, the innermost first."""
    parts = option.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 1, -1)]


def _hint(action: Any) -> Any:
    return getattr(action, "_typehint", None) or action.type


def _is_word(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, int) for one in value)
    return (
        value is None
        or isinstance(value, bool | int | float)
        or (isinstance(value, str) and bool(_WORD.fullmatch(value)))
    )


def _is_plain(hint: Any) -> bool:
    """Whether values of a type are data: numbers, texts, truths, choices, and lists or mappings of them."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return True
    if origin is typing.Annotated:
        return _is_plain(typing.get_args(hint)[0])
    if origin is not None:
        containers = (list, tuple, dict, set, Sequence, Mapping, typing.Union, types.UnionType)
        inner = [one for one in typing.get_args(hint) if one is not Ellipsis]
        return any(origin is one for one in containers) and all(map(_is_plain, inner))
    return isinstance(hint, type) and issubclass(hint, str | int | float | bool | enum.Enum | Path | types.NoneType)


@dataclass(frozen=True)
class Difference:
    """Something that is not here as it was where the record was made."""

    what: str
    recorded: str
    here: str

    @property
    def is_of_data(self) -> bool:
        """Whether the data are others, so that it is another task."""
        return self.what.startswith("data:")


def differences(record: Mapping[str, Any], trial: Trial) -> list[Difference]:
    """What differs here from where the record was made: versions, machine, source, data, options, id."""
    there, here = record["environment"], trial.unmeasured("skipped", "")["environment"]
    pairs: list[tuple[str, Any, Any]] = []
    for part, title in (("versions", ""), ("plugins", "plugin "), ("host", "host ")):
        pairs += [
            (f"{title}{name}", there[part].get(name), here[part].get(name)) for name in {**there[part], **here[part]}
        ]
    pairs += [(name, there[name], here[name]) for name in ("device", "threads", "accelerator", "devices", "precision")]
    for name in ("commit", "dirty"):
        pairs.append((f"git {name}", (there["git"] or {}).get(name), (here["git"] or {}).get(name)))
    prints = record["fingerprints"], trial.fingerprints
    pairs += [(f"data: {name}", prints[0].get(name), prints[1].get(name)) for name in {**prints[0], **prints[1]}]
    options, now = flatten(record["configuration"]), flatten(trial.options)
    pairs += [(f"option {name}", options.get(name, "absent"), now[name]) for name in now]
    pairs.append(("id", record["id"], trial.identity))
    shown = {None: "-"}
    return [
        Difference(what, str(shown.get(one, one)), str(shown.get(two, two)))
        for what, one, two in pairs
        if one != two and not isinstance(one, dict | list)
    ]


Agreement = Literal["exact", "rounding", "different"]


@dataclass(frozen=True)
class Reproduction:
    """A record beside what running it again gave."""

    before: str
    """How the record ended."""
    after: str
    value_before: float | None
    value_after: float | None
    agreement: Agreement
    """Of metrics and histories: bit for bit the same, the same to within `ROUNDING`, or different."""
    column: str | None
    """The history that differs first, None where none does."""
    step: int | None
    """The first optimiser step at which it does; None where the histories are of other steps or columns."""
    interval: tuple[float, float] | None
    """Where one more trial of the row lies with 95 % probability; None below three seeds."""
    seeds: int
    """That the row has."""

    @property
    def inside(self) -> bool | None:
        """Whether the new value lies in the interval; None where there is no interval or no value."""
        if self.interval is None or self.value_after is None:
            return None
        low, high = self.interval
        room = ROUNDING * max(abs(low), abs(high))
        return low - room <= self.value_after <= high + room

    @property
    def reproduced(self) -> bool:
        """Whether it ended as before, and the metric agrees or lies in the row's interval."""
        return self.before == self.after and (self.agreement != "different" or self.inside is True)


def compare(
    record: Mapping[str, Any],
    series: Mapping[str, Series],
    again: Mapping[str, Any],
    series_again: Mapping[str, Series],
    records: Sequence[Mapping[str, Any]],
) -> Reproduction:
    """Set a record beside what running it again gave.

    Args:
        record: The record.
        series: Its histories.
        again: The new record.
        series_again: Its histories.
        records: The records that the first lies among: its row tells how far apart trials of it are.
    """
    values = _values_of_row(record, records)
    column, step = _first_difference(series, series_again)
    same = column is None and record["metrics"] == again["metrics"]
    close = all(
        set(record["metrics"][split]) == set(again["metrics"][split])
        and all(_close(value, again["metrics"][split][name]) for name, value in record["metrics"][split].items())
        for split in ("test", "validation")
    )
    close = (
        close
        and set(series) == set(series_again)
        and all(_alike(one, series_again[name]) for name, one in series.items())
    )
    return Reproduction(
        before=record["status"],
        after=again["status"],
        value_before=record["primary"]["value"],
        value_after=again["primary"]["value"],
        agreement="exact" if same else "rounding" if close else "different",
        column=column,
        step=step,
        interval=prediction_interval(values),
        seeds=len(values),
    )


def _values_of_row(record: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[float]:
    names = ("task", "variant", "model")
    alike = [one for one in records if all(one[name] == record[name] for name in names)]
    for standing in standings(alike):
        for entry in standing.entries:
            if record["id"] in entry.row.ids:
                return list(entry.values.values())
    return []


def prediction_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Where one more value lies with 95 % probability, if values are normal: mean ± t sd √(1 + 1/n).

    Not the confidence interval of the mean, outside which most single trials lie. None below three values.
    Source: Hahn and Meeker, Statistical Intervals, 1991, section 4.7.
    """
    number = len(values)
    if number < 3:
        return None
    reach = t_quantile(number - 1) * float(np.std(values, ddof=1)) * math.sqrt(1 + 1 / number)
    middle = float(np.mean(values))
    return middle - reach, middle + reach


def _first_difference(one: Mapping[str, Series], two: Mapping[str, Series]) -> tuple[str | None, int | None]:
    found: list[tuple[int, str]] = []
    for name in {**one, **two}:
        if name not in one or name not in two or not np.array_equal(one[name].steps, two[name].steps):
            return name, None
        if one[name].values.shape != two[name].values.shape:
            return name, None
        differs = ~((one[name].values == two[name].values) | (np.isnan(one[name].values) & np.isnan(two[name].values)))
        rows = np.flatnonzero(differs.reshape(len(differs), -1).any(axis=1))
        if len(rows):
            found.append((int(one[name].steps[rows[0]]), name))
    step, column = min(found, default=(None, None))
    return column, step


def _close(one: float | None, two: float | None) -> bool:
    if one is None or two is None:
        return one is two
    return math.isclose(one, two, rel_tol=ROUNDING, abs_tol=1e-6)


def _alike(one: Series, two: Series) -> bool:
    if not np.array_equal(one.steps, two.steps) or one.values.shape != two.values.shape:
        return False
    return bool(np.isclose(one.values, two.values, rtol=ROUNDING, atol=1e-6, equal_nan=True).all())


def objections(record: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What this installation has against a record: data, metric, options, size and id that are not what they say.

    The record's task is set up, and its model built without memory for its weights; nothing is trained.

    Returns:
        Why the record can't be true, and what could not be checked.
    """
    try:
        pair = _pair(record)
        _require_plain(pair, record["configuration"])
        trainer = {name: value for name, value in record["configuration"]["trainer"].items() if name not in _LAYOUT} | {
            "accelerator": "cpu"
        }
        options = _resolved(pair, record, {**record["configuration"], "trainer": trainer})
        own = changed({part: options[part] for part in ("task", "model")}, pair.defaults)
        left = [option for option in own if option.startswith("task.")]
        if left:
            return [f"its configuration leaves the frozen variant in {', '.join(left)}, and it does not say so"], []
        trial = Trial(pair, options, record["seed"], record["data_seed"], may_be_skipped=True)
    except UserError as error:
        return [str(error)], []
    found = [*_other_data(record, trial), *_other_size(record, trial)]
    if record["environment"]["plugins"] != trial.plugins:
        return found, ["made with other versions of the task or the model: options and id were not checked"]
    stated = {key: value for key, value in record["overrides"].items() if key.startswith(("task.", "model."))}
    if stated != own:
        found.append(
            f"it says that it differs from the defaults in {stated or 'nothing'}, and does in {own or 'nothing'}"
        )
    missing = set(flatten(options)) - set(flatten(record["configuration"]))
    if missing:
        return found, [f"made before there was {', '.join(sorted(missing))}: its id was not checked"]
    devices = record["environment"]["devices"]
    if devices > 1:
        return found, [f"made on {devices} devices: its id was not checked"]
    there = record["environment"]
    trial.layout = {
        "accelerator": there["accelerator"],
        "devices": 1,
        "strategy": "SingleDeviceStrategy",
        "precision": there["precision"],
    }
    if trial.identity != record["id"]:
        found.append(f"its id is {record['id']}, and what it says of itself gives {trial.identity}")
    return found, []


def _other_data(record: Mapping[str, Any], trial: Trial) -> list[str]:
    found = [
        f"its {name} data are not those of {trial.pair.label} ({record['fingerprints'].get(name)}, here {here})"
        for name, here in trial.fingerprints.items()
        if record["fingerprints"].get(name) != here
    ]
    primary, stated = trial.pair.variant.primary, record["primary"]
    card = {
        "metric": primary.metric,
        "direction": primary.direction,
        "floor_baseline": primary.floor,
        "floor": trial.baselines[primary.floor][primary.metric],
        "ceiling": primary.ceiling,
        "solved_at": primary.solved,
    }
    found += [
        f"its {name} is {stated[name]}, and the task's is {here}" for name, here in card.items() if stated[name] != here
    ]
    if record["baselines"] != trial.baselines:
        found.append("its baselines are not the task's")
    return found


def _other_size(record: Mapping[str, Any], trial: Trial) -> list[str]:
    if record["status"] != "ok" or trial.unsupported is not None:
        return []
    with torch.device("meta"):
        model = trial.build_model()
    if not isinstance(model, BenchModule):
        return []
    weights = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    stated = record["measures"]["parameters"]
    return [] if stated == weights else [f"it has {stated} weights, and its model {weights}"]


def here_threads(record: Mapping[str, Any]) -> int:
    """The threads to run a record with: as many as it had, at most one a core of this machine."""
    return max(1, min(record["environment"]["threads"], environment.host()["cores"] or 1))
