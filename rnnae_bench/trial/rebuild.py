"""From a record back to its trial, of the record's data alone.

A record may be another user's. Nothing in it is executed: its configuration may only give plain values to options that
the registered task and model have, and the few of the trainer's that say where and how precisely to compute.
"""

import dataclasses
import datetime
import decimal
import enum
import fractions
import re
import types
import typing
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import LightningModule
from msgspec import to_builtins

from rnnae_bench.contracts.task import Task
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.options.nested import flatten
from rnnae_bench.options.parsing import fields_of
from rnnae_bench.options.plain import name_of, named
from rnnae_bench.records.privacy import with_home
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.process_state import fresh_process
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.weights import decode

_WORD = re.compile(r"[\w,-]*")
"""Trainer options in words, as ``ddp``; with a dot, it might be a class to import."""


def rebuild(record: Record) -> Trial:
    """The trial that a record tells of, checked and ready to run here.

    A record made on a CPU is rebuilt for the CPU, also where there is a GPU.

    Raises:
        UserError: the task, the model, a variant or an option is not there any more or not the record's to set, or the
            trial can't be run here.
    """
    pair = pair_of(record)
    configuration = to_builtins(record.configuration)
    if record.environment.accelerator == "cpu" and torch.cuda.is_available():
        configuration["trainer"]["accelerator"] = "cpu"
    options = resolved(pair, record, configuration)
    trial = Trial(pair, options, record.seed, record.data_seed, match=record.match)
    with _told_of(record):
        trial.build_without_weights()
    return trial


def model_of(record: Record, store: Store) -> LightningModule:
    """The trained model of a record, on the CPU and ready to be asked: ``model(inputs)``.

    Args:
        record: Its weights must have been kept (``--keep weights``).
        store: Where it lies, its weights beside it.

    Raises:
        UserError: the weights were not kept or are not the record's, or its task and model are not installed here in
            the versions that made it.
    """
    content = store.weights(record)
    pair = pair_of(record)
    for handle in (pair.task_handle, pair.model_handle):
        there = record.environment.plugins.get(handle.distribution)
        if there != handle.version:
            raise UserError(
                f"the model of record {record.id} was made with {handle.distribution} {there}, and here is "
                f"{handle.version}; install the version that made it"
            )
    options = _placeless(pair, record)
    with _told_of(record), fresh_process():
        try:
            weights = decode(content)
            model = pair.build_model(pair.build_task(options["task"], record.data_seed), options["model"], record.seed)
            if record.environment.precision in _FORMATS:
                model = _FORMATS[record.environment.precision](model)
            model.load_state_dict(weights)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"its weights are not this model's: {in_a_line(error)}") from error
    return model.eval()


def task_of(record: Record) -> Task:
    """The task of a record, its data ready.

    Raises:
        UserError: it is not installed here, or an option is not the record's to set.
    """
    pair = pair_of(record)
    options = _placeless(pair, record)
    with _told_of(record), fresh_process():
        task = pair.build_task(options["task"], record.data_seed)
        task.prepare_data()
        task.setup("test")
        return task


def _placeless(pair: Pair, record: Record) -> dict[str, dict[str, Any]]:
    """All options of a trial, but for where it was trained, which does not matter here."""
    placed = ("accelerator", "strategy", "devices", "num_nodes", "precision")
    trainer = {name: value for name, value in record.configuration.trainer.items() if name not in placed}
    configuration = {"task": record.configuration.task, "model": record.configuration.model}
    return resolved(pair, record, {**configuration, "trainer": {**trainer, "accelerator": "cpu"}})


_FORMATS: dict[str, Callable[[LightningModule], LightningModule]] = {
    "64-true": LightningModule.double,
    "16-true": LightningModule.half,
    "bf16-true": LightningModule.bfloat16,
}
"""The format of the weights, in the precisions that have them in another than single."""


def pair_of(record: Record) -> Pair:
    """The task and model that a record tells of; `UserError` where they are not installed."""
    with _told_of(record):
        return _pair(f"{record.task}:{record.variant}", record.model)


# A row's records share their pair, which takes 0.1 s to make and remembers the options it has checked.
_pair = lru_cache(maxsize=32)(Pair)


def resolved(pair: Pair, record: Record, configuration: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All options of a trial, from a configuration of its record; `UserError` for one that a record may not set."""
    with _told_of(record):
        require_plain(pair, configuration)
        return pair.resolve(with_home(configuration))


@contextmanager
def _told_of(record: Record) -> Iterator[None]:
    """Say of an error in here which record it keeps from being rebuilt."""
    try:
        yield
    except UserError as error:
        raise UserError(f"record {record.id} can't be rebuilt here: {error}") from error


def require_plain(pair: Pair, configuration: Mapping[str, Any]) -> None:
    """Raise `UserError` for an option that there is not, or whose value could name code."""
    hints = pair.hints
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
            plain = _is_plain(hints[section]) or (
                _is_plain(hints[section], or_code=True) and all(_is_own(pair, text) for text in _texts(value))
            )
        if not plain:
            raise UserError(f"its option {option} may name code to run ({str(value)[:60]!r}), and records may not")


def _sections(option: str) -> list[str]:
    """An option's dotted name, then the options that it may lie within, the innermost first."""
    parts = option.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 1, -1)]


def _is_word(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, int) for one in value)
    return (
        value is None
        or isinstance(value, bool | int | float)
        or (isinstance(value, str) and bool(_WORD.fullmatch(value)))
    )


_DATA = (
    *(str, int, float, bool, complex, bytes, bytearray, enum.Enum, Path, range, types.NoneType, uuid.UUID),
    *(decimal.Decimal, fractions.Fraction, datetime.date, datetime.time, datetime.timedelta, torch.dtype, torch.device),
    *(Sequence, Mapping, Set),
)


def _is_plain(hint: Any, or_code: bool = False) -> bool:
    """Whether values of a type are data: numbers, texts, truths, choices, and containers of them.

    Args:
        hint: The type hint. Where it says nothing, data stay data.
        or_code: Whether functions and classes will do too.
    """
    origin = typing.get_origin(hint)
    inner = [one for one in typing.get_args(hint) if one is not Ellipsis]
    if origin is Literal or hint in (Any, object):
        return True
    if origin is typing.Annotated:
        return _is_plain(inner[0], or_code)
    if hint in (type, Callable) or origin in (type, Callable):
        return or_code
    if origin in (typing.Union, types.UnionType) or (isinstance(origin, type) and issubclass(origin, _DATA)):
        return all(_is_plain(one, or_code) for one in inner)
    if not isinstance(hint, type):
        return origin is None
    if dataclasses.is_dataclass(hint) or hasattr(hint, "_fields"):
        return all(_is_plain(one, or_code) for one in fields_of(hint))
    return issubclass(hint, _DATA)


def _texts(value: Any) -> Iterator[str]:
    """All texts within plain data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list):
        yield from (text for one in value for text in _texts(one))


def _is_own(pair: Pair, text: str) -> bool:
    """Whether a text names no code, or classes and functions of ``torch.nn``, torch's operations, or the pair's own."""
    try:
        found = named(text)
        name = name_of(found)
    except ValueError:
        return True
    packages = {one.__module__.partition(".")[0] for one in (pair.task_class, pair.model_class)}
    own = name.startswith(("torch.nn.", *(f"{package}." for package in packages)))
    return own or (isinstance(found, types.BuiltinFunctionType) and name == f"torch.{found.__name__}")
