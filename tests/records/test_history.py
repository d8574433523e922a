"""Histories in Parquet: numbers and profiles come back as they were, and what was not measured stays unmeasured."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnnae_bench.records import history
from rnnae_bench.records.history import Series

NAME = "gradient_flow/last_step/recurrence.l0/h"


def through_file(series, folder):
    path = folder / "x.parquet"
    path.write_bytes(history.encode(series))
    return history.read(path)


@pytest.mark.parametrize("lags", [1, 3, 784])
def test_profiles_come_back_to_the_bit(tmp_path, lags):
    steps = np.array([1, 2, 5, 40])
    profiles = np.random.default_rng(lags).normal(-150, 80, (4, lags)).astype(np.float32)
    profiles[1] = np.nan
    profiles[2, -1] = np.nan
    numbers = Series(np.arange(1, 51), np.linspace(3, 0, 50))
    back = through_file({"loss": numbers, NAME: Series(steps, profiles)}, tmp_path)
    assert list(back) == ["loss", NAME]
    np.testing.assert_array_equal(back[NAME].steps, steps)
    assert back[NAME].values.dtype == np.float32
    assert back[NAME].values.tobytes() == profiles.tobytes()
    np.testing.assert_array_equal(back["loss"].steps, numbers.steps)
    assert back["loss"].values.dtype == np.float64
    assert back["loss"].values.tobytes() == numbers.values.tobytes()


def test_a_profile_column_has_nulls_for_steps_and_nan_for_lags(tmp_path):
    profiles = np.array([[-1.5, np.nan], [np.nan, np.nan]], dtype=np.float32)
    path = tmp_path / "x.parquet"
    series = {NAME: Series(np.array([2, 4]), profiles), "loss": Series(np.array([2, 3]), np.array([1.0, np.nan]))}
    path.write_bytes(history.encode(series))
    table = pq.read_table(path)
    assert table.schema.field(NAME).type == pa.list_(pa.float32())
    assert table["step"].to_pylist() == [2, 3, 4]
    first, second, third = table[NAME].to_pylist()
    assert second is None
    assert first[0] == -1.5
    assert [None not in row and np.isnan(row[1]) for row in (first, third)] == [True, True]
    loss = table["loss"].to_pylist()
    assert loss[0] == 1.0
    assert np.isnan(loss[1])
    assert loss[2] is None


def test_profiles_alone_and_profiles_of_different_lengths(tmp_path):
    short = Series(np.array([1, 3]), np.zeros((2, 2), dtype=np.float32))
    long = Series(np.array([3]), np.ones((1, 7), dtype=np.float32))
    back = through_file({"a": short, "b": long}, tmp_path)
    np.testing.assert_array_equal(back["a"].values, short.values)
    np.testing.assert_array_equal(back["b"].values, long.values)
    assert back["b"].steps.tolist() == [3]


def test_a_series_without_any_step_stays_empty(tmp_path):
    nothing = np.empty(0, np.int64)
    series = {
        "a": Series(nothing, np.empty((0, 5), np.float32)),
        "b": Series(nothing, np.empty(0)),
        "loss": Series(np.array([1]), np.array([2.0])),
    }
    back = through_file(series, tmp_path)
    assert [(len(one.steps), len(one.values), one.values.ndim) for one in back.values()] == [
        (0, 0, 2),
        (0, 0, 1),
        (1, 1, 1),
    ]


def test_files_from_before_there_were_profiles_still_read(tmp_path):
    path = tmp_path / "old.parquet"
    values = pa.array([3.0, float("nan"), None], pa.float64(), from_pandas=False)
    pq.write_table(pa.table({"step": pa.array([1, 2, 3], pa.int64()), "loss": values}), path, compression="zstd")
    (series,) = history.read(path).values()
    assert series.steps.tolist() == [1, 2]
    np.testing.assert_array_equal(series.values, [3.0, np.nan])


def test_steps_and_values_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="loss has 1 values at 2 steps"):
        history.encode({"loss": Series(np.array([1, 2]), np.array([1.0]))})


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"loss": pa.array([1.0])}, "no column of whole steps"),
        ({"step": pa.array([1.5]), "loss": pa.array([1.0])}, "no column of whole steps"),
        ({"step": pa.array([1]), "loss": pa.array([2])}, "not of numbers at whole steps"),
        ({"step": pa.array([1]), "loss": pa.array(["=HYPERLINK()"])}, "not of numbers at whole steps"),
        ({"step": pa.array([1]), "loss": pa.array([{"a": 1}])}, "not of numbers at whole steps"),
        ({"step": pa.array([1, 2]), "loss": pa.array([[1.0], [1.0, 2.0]])}, "can't be read"),
        ({"step": pa.array([1, 2]), "loss": pa.array([[[1.0]], [[2.0]]])}, "not of numbers at whole steps"),
    ],
)
def test_a_table_that_holds_no_histories_is_refused(tmp_path, columns, reason):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ValueError, match=reason):
        history.read(path)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    for content in (b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises((OSError, ValueError)):
            history.read(path)


def test_a_table_is_not_read_where_it_would_not_fit_into_memory(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"step": np.arange(100_000), "loss": np.zeros(100_000)}), path, compression="zstd")
    size = path.stat().st_size
    monkeypatch.setattr(history, "LARGEST", size)
    with pytest.raises(ValueError, match="when read"):
        history.read(path)
    monkeypatch.setattr(history, "LARGEST", size - 1)
    with pytest.raises(ValueError, match="is larger than"):
        history.read(path)


def test_what_repeats_is_counted_as_often_as_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    zeros = np.zeros(10**6)
    pq.write_table(pa.table({"step": zeros.astype(int), "loss": zeros, "a": zeros}), path, compression="zstd")
    monkeypatch.setattr(history, "LARGEST", 24 * 10**6)
    assert path.stat().st_size < history.LARGEST / 1000
    assert len(history.read(path)["loss"].values) == 10**6
    monkeypatch.setattr(history, "LARGEST", 24 * 10**6 - 1)
    for read in (history.read, history.fields):
        with pytest.raises(ValueError, match="take more than"):
            read(path)
    assert list(history.read(path, {"a"}.__contains__)) == ["a"]


def test_columns_other_than_a_record_names_are_refused(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(history.encode({"loss": Series(np.array([1]), np.array([1.0]))}))
    assert list(history.read_named(path, ["step", "loss"])) == ["loss"]
    for names in (["loss", "step"], ["step"], ["step", "loss", "loss"]):
        with pytest.raises(ValueError, match="other columns than its record names"):
            history.read_named(path, names)
