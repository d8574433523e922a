"""Records on disk: whole or not at all, never lost, and a bad file harms nothing else."""

import hashlib
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from rnnae_bench.errors import UserError
from rnnae_bench.records import history
from rnnae_bench.records.document import document_of, record_from
from rnnae_bench.records.history import Series
from rnnae_bench.records.legible import finite
from rnnae_bench.records.record import Failure
from rnnae_bench.records.store import Store

ID = "0123456789abcdef"
SERIES = {
    "loss": Series(np.array([1, 2, 3]), np.array([3.0, np.nan, np.inf])),
    "validation/loss": Series(np.array([2]), np.array([1.5])),
}


def test_what_is_written_is_read_back(tmp_path, make_record):
    store = Store(tmp_path / "deep" / "runs")
    path = store.write(make_record(), SERIES)
    (record,) = store.read().records
    assert document_of(record) == json.loads(path.read_text())
    assert replace(record, history=make_record().history, checksum=None) == make_record()
    table = (tmp_path / "deep" / "runs" / record.history.file).read_bytes()
    assert record.history.sha256 == hashlib.sha256(table).hexdigest()
    for name, series in store.series(record).items():
        np.testing.assert_array_equal(series.steps, SERIES[name].steps)
        np.testing.assert_array_equal(series.values, SERIES[name].values)


def test_parquet_is_one_row_a_step_with_nulls(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(history.encode(SERIES))
    table = pq.read_table(path).to_pydict()
    assert table["step"] == [1, 2, 3]
    assert table["validation/loss"] == [None, 1.5, None]
    assert table["loss"][0] == 3.0


def test_a_trial_without_any_step_has_an_empty_history(tmp_path, make_record):
    store = Store(tmp_path)
    store.write(make_record(), {})
    (record,) = store.read().records
    assert store.series(record) == {}


def test_numbers_json_has_no_word_for_become_null(tmp_path, make_document):
    document = make_document()
    document["measures"]["clipped_fraction"] = float("nan")
    assert finite(document)["measures"]["clipped_fraction"] is None
    path = Store(tmp_path).write(record_from(document), {})
    assert json.loads(path.read_text())["measures"]["clipped_fraction"] is None


def test_a_name_that_is_no_utf8_is_written_out_and_its_record_read_back(tmp_path, make_record):
    command = ["rnnae-bench", "run", "--out", os.fsdecode(b"caf\xe9")]
    identity = Store(tmp_path).write(replace(make_record(), command=command), {}).stem
    record = Store(tmp_path).find(identity)
    assert record is not None
    assert record.command[-1] == "caf\\udce9"


def test_bad_files_are_reported_and_harm_nothing_else(tmp_path, make_record):
    store = Store(tmp_path)
    good = store.write(make_record(), SERIES)
    (tmp_path / "torn.json").write_text(good.read_text()[:100])
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    (tmp_path / "folder.json").mkdir()
    found = store.read()
    assert len(found.records) == 1
    assert {path.name for path in found.unreadable} == {
        "torn.json",
        "other.json",
        "list.json",
        "bytes.json",
        "folder.json",
    }


def test_an_earlier_record_is_kept(tmp_path, make_record):
    store = Store(tmp_path)
    for value in (0.1, 0.2, 0.3):
        store.write(make_record(value), SERIES)
    assert store.find(ID).primary.value == 0.3
    kept = store.superseded()
    assert [record.primary.value for record in kept.values()] == [0.1, 0.2]
    for path, record in kept.items():
        own = Store(path.parent)
        assert own.read().records == [record]
        np.testing.assert_array_equal(own.series(record)["loss"].values, SERIES["loss"].values)
    assert {path.name for path in tmp_path.iterdir()} == {f"{ID}.json", f"{ID}.parquet", "superseded"}


def test_a_missing_folder_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        Store(tmp_path / "absent").read()


FAILURE = Failure(message="it took too long", step=None, traceback=None)


def test_a_draft_becomes_a_record_with_what_was_measured(tmp_path, make_record):
    store = Store(tmp_path)
    running = make_record(
        status="interrupted", failure={"message": "the trial is running", "step": None, "traceback": None}
    )
    store.drafts.write(running, {})
    store.drafts.write(running, SERIES)
    assert store.drafts.identities() == [running.id]
    assert not store.path(running.id).exists()
    store.close(running.id, make_record(seed=7), "timeout", FAILURE)
    record = store.find(running.id)
    assert record.status == "timeout"
    # The step is that of the draft, which knows 10.
    assert record.failure == replace(FAILURE, step=10)
    assert record.seed == 0
    assert record.finished > running.finished
    assert list(store.series(record)) == list(SERIES)
    assert store.drafts.identities() == []


@pytest.mark.parametrize("torn", [None, b"", b"{}\n", b'{"id": 1', b"\xff\n\xff"])
def test_without_a_draft_the_given_record_is_taken(tmp_path, make_record, torn):
    store = Store(tmp_path)
    if torn is not None:
        store.drafts.write(make_record(), {})
        (tmp_path / "drafts" / f"{make_record().id}.draft").write_bytes(torn)
    store.close("00000000000000aa", make_record(seed=7), "error", FAILURE)
    record = store.find("00000000000000aa")
    assert (record.status, record.seed, record.id) == ("error", 7, "00000000000000aa")
    assert record.history.file == "00000000000000aa.parquet"
    assert store.series(record) == {}


def test_a_draft_is_always_whole(tmp_path, make_record):
    store = Store(tmp_path)
    store.drafts.write(make_record(), SERIES)
    record, table = store.drafts.read(make_record().id)
    assert record.history.sha256 == hashlib.sha256(table).hexdigest()
    assert [path.name for path in (tmp_path / "drafts").iterdir()] == [f"{record.id}.draft"]


def test_what_a_killed_process_left_of_a_trial_is_cleared(tmp_path, make_record):
    store = Store(tmp_path)
    other = make_record(id="00000000000000aa")
    for one in (make_record(), other):
        store.write(one, SERIES)
        store.drafts.write(one, SERIES)
    kept = {path for path in tmp_path.rglob("*") if path.suffix != ".draft" or path.stem == other.id}
    name = make_record().id
    pieces = [f".{name}.json.7.tmp", f".{name}.parquet.7.tmp", f"drafts/.{name}.draft.7.tmp"]
    foreign = tmp_path / f".{other.id}.json.7.tmp"
    for piece in [*pieces, foreign.name]:
        (tmp_path / piece).write_bytes(b"{")
    store.clear(name)
    assert set(tmp_path.rglob("*")) == kept | {foreign}


def test_drafts_of_trials_that_have_their_record_are_discarded(tmp_path, make_record):
    store = Store(tmp_path)
    again = make_record(id="00000000000000aa")
    unfinished = make_record(id="00000000000000bb")
    store.write(make_record(), {})
    store.write(again, {})
    for draft in (make_record(), replace(again, started="2027-01-01T00:00:00+00:00"), unfinished):
        store.drafts.write(draft, {})
    store.tidy()
    assert store.drafts.identities() == [again.id, unfinished.id]


def test_a_record_made_elsewhere_is_adopted_or_refused(tmp_path, make_record):
    there, here = Store(tmp_path / "there"), Store(tmp_path / "here")
    path = there.write(make_record(), SERIES)
    record, table = there.find(make_record().id), path.with_suffix(".parquet").read_bytes()
    here.adopt(record, table)
    assert here.find(record.id) == record
    assert list(here.series(record)) == list(SERIES)
    with pytest.raises(ValueError, match="are not those that it names"):
        here.adopt(record, table + b"x")
    with pytest.raises(ValueError, match="changed after it was written"):
        here.adopt(replace(record, seed=7), table)


def test_every_record_that_is_written_has_its_checksum(tmp_path, make_record):
    store = Store(tmp_path)
    store.write(make_record(), SERIES)
    store.close("00000000000000aa", make_record(), "timeout", FAILURE)
    for record in store.read().records:
        rest = {key: value for key, value in document_of(record).items() if key != "checksum"}
        compact = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        assert record.checksum == hashlib.sha256(compact.encode()).hexdigest()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": 1e999}', "1e999 is no number"),
        ('{"a": 1, "a": 2}', "a key comes twice"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ("[" * 42 + "]" * 42, "nested too deep"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"\\udfff": 1}', "half a character"),
        (f'{{"a": {"9" * 309}}}', "more than 308 digits"),
        (f'{{"a": {"9" * 400_000}}}', "400,000 digits"),
    ],
)
def test_json_that_readers_may_take_differently_is_no_record(tmp_path, content, reason):
    (tmp_path / "x.json").write_text(content)
    (problem,) = Store(tmp_path).read().unreadable.values()
    assert reason in problem


def test_what_is_no_ordinary_file_is_no_record(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(2**30)
    problems = {path.name: reason for path, reason in Store(tmp_path).read().unreadable.items()}
    assert problems["pipe.json"] == "not a file"
    assert "1,073,741,824 bytes" in problems["huge.json"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x" * 300, "File name too long"),
        ("dangling", "a link to nowhere, which is not there"),
        ("dangling/runs", "a link to nowhere, which is not there"),
        ("file", "is a file"),
        ("file/runs", "is a file"),
        ("nul\0byte", "null byte"),
        ("new/" + "x" * 300, "File name too long"),
    ],
)
def test_a_folder_that_cannot_be_is_refused_and_nothing_is_left(name, reason, tmp_path):
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=reason):
        Store(tmp_path / name).require_writable()
    assert sorted(tmp_path.iterdir()) == before
    Store(tmp_path / "a" / "b").require_writable()
    assert sorted(tmp_path.iterdir()) == before


def test_copies_of_a_record_are_read_once_and_its_own_file_counts(tmp_path, make_record):
    store = Store(tmp_path)
    path = store.write(make_record(), SERIES)
    for name in ("0-copy.json", "z-copy.json"):
        (tmp_path / name).write_bytes(path.read_bytes())
    found = store.read()
    assert [record.id for record in found.records] == [ID]
    assert not found.unreadable
