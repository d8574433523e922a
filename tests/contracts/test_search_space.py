"""Ranges declared by annotations, and as plain data."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from rnnae_bench.contracts.search_space import Choices, Range, declared, dimension_from, plain
from rnnae_bench.errors import UserError
from rnnae_bench.models.conv_autoencoder import ConvAutoencoder
from rnnae_bench.models.dense_autoencoder import DenseAutoencoder
from rnnae_bench.models.recurrent import GRU, LSTM, RNN
from rnnae_bench.plugins.source import read_class
from rnnae_bench.trial.pair import Pair


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, Range(1e-4, 1e-2, log=True)] = 1e-3
    clip: float = 1.0


class Model:
    def __init__(
        self,
        spec: int,
        width: Annotated[int, "a note", Range(1, 8)] = 4,
        kind: Annotated[str, Choices(("a", "b"))] = "a",
        depth: Annotated[int, "a note"] = 1,
        inner: Inner = Inner(),
    ) -> None: ...


def test_a_constructors_ranges_are_found_in_its_dataclasses_too():
    assert declared(Model) == {
        "width": Range(1, 8),
        "kind": Choices(("a", "b")),
        "inner.rate": Range(1e-4, 1e-2, log=True),
    }


def test_whole_numbers_stay_whole():
    assert Range(1, 8).whole
    assert not Range(1.0, 8).whole


@pytest.mark.parametrize("dimension", [Range(1, 8), Range(1e-4, 0.1, log=True), Choices((1, "a", None))])
def test_plain_data_and_back(dimension):
    assert dimension_from(plain(dimension), "x") == dimension


@pytest.mark.parametrize("ends", [(2, 1), (1, 1), (0.0, float("inf")), (float("nan"), 1.0)])
def test_an_empty_range_is_refused(ends):
    with pytest.raises(UserError, match="is empty; low must be below high"):
        Range(*ends)


def test_what_is_no_range_is_refused():
    for data in ({"low": 1}, {"low": True, "high": 3, "more": 1}, "a", {}):
        with pytest.raises(UserError, match="search space of x"):
            dimension_from(data, "x")


@pytest.mark.parametrize("model", [RNN, LSTM, GRU, DenseAutoencoder, ConvAutoencoder])
def test_every_built_in_model_declares_its_size_and_its_learning_rate(model):
    found = declared(model)
    size = "hidden_size" if model in (RNN, LSTM, GRU) else "code_size"
    assert {size, "optimization.learning_rate"} <= found.keys()
    source = read_class(model.__module__, model.__name__)
    declarations = {one.name: one for one in source.parameters if one.name in found}
    for option, dimension in found.items():
        kind, default = declarations[option].type, declarations[option].default
        if default != "None":  # then the task says
            assert dimension.low <= float(default) <= dimension.high
        assert kind.removesuffix(" | None") == ("int" if dimension.whole else "float")


def test_both_ends_of_a_declared_range_are_options_of_the_pair():
    pair = Pair("copy:smoke", "gru")
    for option, dimension in declared(GRU).items():
        for end in (dimension.low, dimension.high):
            section, _, name = option.rpartition(".")
            resolved = pair.resolve({"model": {section: {name: end}} if section else {name: end}})["model"]
            assert (resolved[section] if section else resolved)[name] == end
    with pytest.raises(UserError, match=r"hidden_size: got '1\.5'; it must be a whole number"):
        pair.resolve({"model": {"hidden_size": 1.5}})
