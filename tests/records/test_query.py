"""SQL and data frames over records: right answers, and no way out of the records."""

import csv
import io
import math
import statistics

import numpy as np
import pandas as pd
import pytest

import rnnae_bench
from rnnae_bench.errors import UserError
from rnnae_bench.records import query as queries
from rnnae_bench.records.document import record_from
from rnnae_bench.records.flat import COLUMNS, columns_of
from rnnae_bench.records.history import Series
from rnnae_bench.records.query import query
from rnnae_bench.records.store import Store
from rnnae_bench.report.tables import comma_separated


@pytest.fixture
def store(tmp_path, make_document):
    store = Store(tmp_path / "o'clock runs")
    failure = {"message": "bad", "step": 3, "traceback": None}
    made = [
        make_document(0.5),
        make_document(0.7, seed=1, overrides={"model.hidden_size": 8}),
        make_document(0.99, model="lstm"),
        make_document(None, model="rnn", status="error", failure=failure),
    ]
    for number, record in enumerate(made):
        record["measures"] = {**record["measures"], "gradient/h/decay_rate": number / 2, "memory_kind": "resident"}
        series = {
            "loss": Series(np.array([1, 2, 4]), np.array([1.0, 0.5, math.nan]) * (number + 1)),
            "odd \"name'": Series(np.array([2]), np.array([float(number)])),
        }
        if number == 2:
            series["flow"] = Series(np.array([1, 4]), np.array([[0, -1, -2], [0, -3, -4]], dtype=np.float32))
        store.write(record_from({**record, "id": f"{number:016x}"}), series)
    return store


def ask(store: Store, sql: str) -> list[tuple]:
    return query(sql, store.read().records, store).rows


def test_a_row_a_record(store):
    assert ask(store, "select model, avg(value), count(*) from trials group by model order by 1") == [
        ("gru", statistics.fmean([0.5, 0.7]), 2),
        ("lstm", 0.99, 1),
        ("rnn", None, 1),
    ]
    assert ask(store, "select label, setting, failure, failure_step from trials where seed = 1 or model = 'rnn'") == [
        ("gru[hidden_size=8]", "copy:standard", None, None),
        ("rnn", "copy:standard", "bad", 3),
    ]
    assert ask(store, "select overrides->>'$.\"model.hidden_size\"' from trials where seed = 1") == [("8",)]
    assert ask(store, "select sum(gradient_h_decay_rate), max(memory_kind) from trials") == [(3.0, "resident")]
    assert ask(store, "select max(epoch(finished - started)) from trials") == [(2.0,)]


def test_histories_are_those_of_the_store(store):
    found = {
        (record.id, name, int(step)): float(value)
        for record in store.read().records
        for name, series in store.series(record).items()
        if series.values.ndim == 1
        for step, value in zip(series.steps, series.values, strict=True)
    }
    answer = {(identity, name, step): value for identity, name, step, value in ask(store, "from histories")}
    assert answer.keys() == found.keys()
    np.testing.assert_array_equal([answer[key] for key in found], list(found.values()))
    assert ask(store, "select id, step, lag, value from profiles where step > 1") == [
        ("0000000000000002", 4, lag, value) for lag, value in enumerate([0.0, -3.0, -4.0])
    ]
    joined = "select t.model, min(h.value) from Histories h join trials t using (id) where name = 'loss' group by 1"
    assert sorted(ask(store, joined)) == [("gru", 0.5), ("lstm", 1.5), ("rnn", 2.0)]


def test_a_missing_or_torn_history_leaves_the_others(store):
    records = store.read().records
    (store.folder / records[0].history.file).unlink()
    (store.folder / records[1].history.file).write_bytes(b"PAR1 torn")
    assert ask(store, "select count(distinct id) from histories") == [(2,)]


def test_no_records_is_an_empty_table_with_its_columns(tmp_path):
    assert query("select * from trials", [], Store(tmp_path)).columns == tuple(column.name for column in COLUMNS)
    assert query("select * from histories, profiles", [], Store(tmp_path)).rows == []


@pytest.mark.parametrize(
    "sql",
    [
        "copy trials to '{place}'",
        "attach '{place}' as x",
        "export database '{place}'",
        "set enable_external_access = true",
        "set lock_configuration = false; select 1",
        "pragma database_list",
        "install httpfs",
        "load httpfs",
        "create table x as select 1",
        "drop table trials",
        "delete from trials",
        "insert into trials (id) values ('x')",
        "select 1; select 2",
        "explain analyze copy (select 1) to '{place}'",
        "explain (analyze) insert into trials (id) values ('x')",
        "call pragma_version()",
        "prepare x as select 1",
        "execute x",
        "update trials set value = 1",
        "create macro x() as 1",
        "vacuum",
        "checkpoint",
        "begin",
        "",
    ],
)
def test_only_a_select_is_a_query(store, tmp_path, sql):
    with pytest.raises(UserError, match="a query is one SELECT"):
        ask(store, sql.format(place=tmp_path / "written"))
    assert not (tmp_path / "written").exists()


WRITING = [
    "explain analyze copy trials to '{file}' (format parquet)",
    "explain analyze copy (select 1) to '{file}'",
    "EXPLAIN/**/ANALYZE\tCOPY (select 1) TO '{file}'",
    "with x as (copy (select 1) to '{file}') select 1",
    "with x as (insert into trials (id) values ('x') returning id) select * from x, histories",
    "with x as (delete from histories returning id) select * from x",
    "select * from query('copy (select 1) to ''{file}''')",
    "select * from histories, query('attach ''{file}'' as x')",
    "from copy_database('{file}')",
    "pivot trials on model",
]


@pytest.mark.parametrize("sql", WRITING)
def test_a_query_changes_no_byte_of_the_folder(store, sql):
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    file = store.folder / "0000000000000000.parquet"
    with pytest.raises(UserError):
        ask(store, sql.format(file=str(file).replace("'", "''")))
    assert {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("folder", ["a*", "b?[c]", "{d,e}", "**"])
def test_a_folder_is_named_and_no_pattern(tmp_path, make_record, folder):
    for name in (folder, "ab", "bxc", "d"):
        store = Store(tmp_path / name)
        store.write(make_record(), {"loss": Series(np.array([1]), np.array([float(name == folder)]))})
    assert ask(Store(tmp_path / folder), "select id, value from histories") == [("0123456789abcdef", 1.0)]


def test_names_that_differ_in_their_case_are_two(tmp_path, make_record):
    names = {"gradient_norm/W": 1.0, "gradient_norm/w": 2.0, "ID": 3.0, "id": 4.0, "id_": 5.0}
    store = Store(tmp_path)
    store.write(make_record(), {name: Series(np.array([7]), np.array([value])) for name, value in names.items()})
    assert sorted(ask(store, "select name, value from histories where step = 7")) == sorted(names.items())
    assert ask(store, "select distinct id from histories") == [("0123456789abcdef",)]


def test_histories_that_break_off_are_left_out_with_their_reason(store):
    path = store.folder / store.read().records[0].history.file
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 3) + content[4 + len(content) // 3 :])
    answer = query("select count(distinct id) from histories where value is not null", store.read().records, store)
    assert answer.rows == [(3,)]
    assert answer.without_histories.keys() == {path.stem}


def test_a_query_takes_and_gives_so_much_and_no_more(store, monkeypatch):
    monkeypatch.setattr(queries, "MEMORY", 100 * 2**20)
    with pytest.raises(UserError, match="Out of Memory"):
        ask(store, "select count(*) from (select distinct a.range, b.range from range(10000) a, range(10000) b)")
    monkeypatch.setattr(queries, "MOST", 10_000)
    assert len(ask(store, "from range(10000)")) == 10_000
    with pytest.raises(UserError, match="more than 10,000 values; aggregate"):
        ask(store, "from range(10001)")


@pytest.mark.parametrize("views", ["", ", histories"])
@pytest.mark.parametrize(
    "source",
    [
        "'{secret}'",
        "read_text('{secret}')",
        "read_csv('{secret}')",
        "read_json('{secret}')",
        "read_blob('{secret}')",
        "glob('{folder}/*')",
        "read_parquet('https://example.invalid/x.parquet')",
        "records",
        "store",
    ],
)
def test_a_query_reads_nothing_but_the_records(store, tmp_path, source, views):
    (tmp_path / "secret.csv").write_text("secret")
    with pytest.raises(UserError, match="the query failed"):
        ask(store, f"select * from {source}{views}".format(secret=tmp_path / "secret.csv", folder=tmp_path))


def test_a_mistake_is_one_line_with_the_columns(store):
    with pytest.raises(UserError, match="modle") as caught:
        ask(store, "select modle from trials")
    assert "columns of trials: id, status, task" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="syntax error at or near"):
        ask(store, "selct 1")


def test_foreign_records_with_odd_numbers_make_a_table_too(tmp_path, make_document):
    odd = make_document()
    odd["seed"], odd["started"] = 2**70, "0001-01-01T00:00:00+14:00"
    odd["measures"] |= {"parameters": 10**300, "steps_to_solved": 1.5, "value": 7, "Odd  Name!": "x", "odd_name": 1}
    odd = record_from(odd)
    Store(tmp_path).write(odd, {})
    rows = query(
        "select seed, started, parameters, steps_to_solved, value, odd_name from trials", [odd], Store(tmp_path)
    ).rows
    assert rows == [(None, None, None, None, 0.5, "x")]
    assert query("select measures->>'$.value' from trials", [odd], Store(tmp_path)).rows == [("7",)]


def test_a_frame_a_query_and_csv_have_the_same_columns(store):
    records = store.read().records
    frame = rnnae_bench.frame(store.folder)
    answer = query("select * from trials", records, store)
    head, *lines = csv.reader(io.StringIO(comma_separated(records)))
    assert list(frame.columns) == list(answer.columns) == head == [column.name for column in columns_of(records)]
    assert [line[head.index("value")] for line in lines] == ["0.5", "0.7", "0.99", ""]
    assert frame.groupby("model").value.mean()["gru"] == pytest.approx(0.6)
    assert frame.seed.tolist() == [0, 1, 0, 0]
    assert frame.failure_step.isna().sum() == 3
    assert pd.api.types.is_datetime64_any_dtype(frame.started)
    (store.folder / "torn.json").write_text("{")
    with pytest.warns(UserWarning, match=r"torn\.json is no record"):
        rnnae_bench.frame(store.folder)
    with pytest.raises(UserError, match="no such folder"):
        rnnae_bench.frame(store.folder / "absent")
