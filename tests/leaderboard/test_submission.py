"""What a leaderboard takes, and each way in which a record is refused."""

import copy
import json
import os

import numpy as np
import pytest
from msgspec.structs import replace

from rnnae_bench.leaderboard import readme, submission
from rnnae_bench.leaderboard.submission import MINIMUM_SEEDS
from rnnae_bench.records.document import checksum, document_of, record_from
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store

STEPS = np.arange(1, 11)
SERIES = {"gradient_norm": Series(STEPS, np.ones(10)), "loss": Series(STEPS, np.ones(10))}


def nothing(record) -> tuple[list[str], list[str]]:
    return [], []


@pytest.fixture
def make(make_document):
    """A function that makes a record that a leaderboard takes."""

    def made(seed: int, **changes):
        record = make_document(0.5, seed=seed, data_seed=seed, id=f"{seed:016x}", **changes)
        record["configuration"] = {"task": {"protocol": {"max_steps": 10}}, "model": {}, "trainer": {}}
        return record_from(record)

    return made


@pytest.fixture
def runs(tmp_path, make):
    store = Store(tmp_path / "runs")
    for seed in range(MINIMUM_SEEDS):
        store.write(make(seed), SERIES)
    return store


@pytest.fixture
def records(tmp_path):
    return tmp_path / "board" / "records"


def refused(runs, records) -> dict[str, str]:
    return {one.path.stem: "; ".join(one.reasons) for one in submission.examine(runs.folder, records, nothing).refused}


def test_whole_rows_are_taken_once_and_the_page_follows(runs, records):
    found = submission.examine(runs.folder, records, nothing)
    assert not found.refused
    assert len(submission.take(found, records)) == 2 * MINIMUM_SEEDS
    assert Store(records).read().records == runs.read().records
    assert not readme.is_in_step(records, Store(records).read().records)
    page = readme.write(records, Store(records).read().records)
    assert "copy:standard" in page.read_text()
    assert readme.is_in_step(records, Store(records).read().records)
    again = submission.examine(runs.folder, records, nothing)
    assert [one.remarks for one in again.taken] == [
        ("made by an installed package, so of no known commit", "there already")
    ] * MINIMUM_SEEDS
    assert submission.take(again, records) == []


def test_another_record_of_a_trial_never_replaces_the_first(runs, records, make):
    submission.take(submission.examine(runs.folder, records, nothing), records)
    before = (records / f"{0:016x}.json").read_bytes()
    runs.write(make(0, finished="2026-01-01T00:00:09+00:00"), SERIES)
    found = submission.examine(runs.folder, records, nothing)
    assert [one.reasons for one in found.refused] == [
        ("the leaderboard has another record of this trial already, and keeps it",)
    ]
    submission.take(found, records)
    assert (records / f"{0:016x}.json").read_bytes() == before


def test_seeds_already_there_count_and_chosen_seeds_do_not(runs, records, make):
    runs.path(f"{3:016x}").unlink()
    runs.write(make(7), SERIES)
    assert set(refused(runs, records).values()) == {"its row lacks seed 3: a row has the seeds 0 to 4"}
    Store(records).write(make(3), SERIES)
    assert refused(runs, records) == {}


def test_what_else_speaks_against_a_record_is_asked_of_good_ones_only(runs, records, make):
    asked = []

    def objections(record):
        asked.append(record.seed)
        return (["not so"], []) if record.seed == 1 else ([], ["well"])

    runs.write(changed(make(0), "data_seed", 9), SERIES)
    found = submission.examine(runs.folder, records, objections)
    assert asked == [1, 2, 3, 4]
    assert next(one for one in found.findings if one.path.stem == f"{1:016x}").reasons == ("not so",)


def changed(record: Record, where: str, value) -> Record:
    document = copy.deepcopy(document_of(record))
    *sections, last = where.split("/")
    place = document
    for section in sections:
        place = place[section]
    place[last] = value
    return record_from(document)


FUTURE = "9999-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        ("primary/value", 0.9, "its test metrics say 0.5"),
        ("primary/score", 0.9, "its score is 0.9, and its value gives"),
        ("primary/solved", True, "solved is True"),
        ("primary/floor", 0.1, "is not what its baseline 'memoryless' gives"),
        ("primary/ceiling", 0.3, "beyond the ceiling"),
        ("primary/direction", "minimize", "does not fit a floor"),
        ("primary/value", None, "ended ok without a value"),
        ("metrics/test", {}, "its test metrics lack the primary one"),
        ("metrics/validation", {"recall_accuracy": 0.9}, "its histories say None"),
        ("status", "error", "its failure says otherwise"),
        ("measures/steps", 11, "11 steps of a budget of 10"),
        ("measures/training_seconds", 900, "900 seconds of training"),
        ("measures/training_seconds", -1, "-1 seconds of training"),
        ("configuration/task", {"protocol": {"max_steps": 20}}, "ended ok after 10 of 20 steps"),
        ("configuration/task", {"protocol": 3}, "has no budget"),
        ("overrides", {"task.protocol.max_steps": 10}, "leaves the frozen variant"),
        ("overrides", {"trainer.accumulate_grad_batches": 4}, "changes how everybody trains"),
        ("data_seed", 77, "no longer paired"),
        ("environment/git", {"commit": "x", "dirty": True}, "dirty"),
        ("finished", "2025-01-01T00:00:00+00:00", "finished before it started"),
        ("finished", FUTURE, "in the future"),
        ("task", "<script>", "is no name"),
        ("model", "../gru", "is no name"),
        ("environment/device", "x\x1b[2J", "control characters"),
        ("environment/device", "x\u202eabc", "control characters"),
        ("environment/device", "x" * 5000, "a text of more than 2,000 characters"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(runs, records, make, where, value, reason):
    runs.write(changed(make(0), where, value), SERIES)
    assert reason in refused(runs, records)[f"{0:016x}"]


@pytest.mark.parametrize(
    ("match", "reason"),
    [
        ({}, None),
        ({"option": "sizes", "width": 5}, None),
        ({"got": 41}, "matched to 41 parameters of 40 asked, and its measures say 42"),
        ({"quantity": "state"}, "matched to 42 numbers in the state of 40 asked, and its measures say 8"),
        ({"width": 4}, "matched by hidden_size 4, and its configuration says 3"),
        ({"option": "sizes", "width": 4}, r"matched by sizes 4, and its configuration says [2, 5]"),
    ],
)
def test_a_width_that_was_matched_is_what_the_record_says(runs, records, make, match, reason):
    record = changed(make(0), "schema", 2)
    record = changed(record, "configuration/model", {"hidden_size": 3, "sizes": [2, 5]})
    stated = {"quantity": "parameters", "asked": 40, "got": 42, "option": "hidden_size", "width": 3}
    runs.write(changed(record, "match", stated | match), SERIES)
    reasons = refused(runs, records).get(f"{0:016x}", "")
    assert reason in reasons if reason else "match" not in reasons


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        ({"loss": SERIES["loss"]}, "lack gradient_norm at some of its 10 steps"),
        ({**SERIES, "x": Series(np.array([12]), np.ones(1))}, "not from 0 to 10, rising"),
        ({**SERIES, "x": Series(np.arange(1, 40), np.ones(39))}, "not from 0 to 10, rising"),
    ],
)
def test_histories_that_contradict_the_record_are_refused(runs, records, make, series, reason):
    runs.write(make(0), series)
    assert reason in refused(runs, records)[f"{0:016x}"]


def tampered(runs: Store, edit) -> None:
    path = runs.path(f"{0:016x}")
    path.write_text(edit(path.read_text()))


def forged(text: str) -> str:
    record = json.loads(text)
    record["primary"] |= {"value": 1.0, "score": 1.0, "solved": True}
    return json.dumps(record)


def resigned(text: str) -> str:
    record = json.loads(text)
    return json.dumps({**record, "checksum": checksum(record)})


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda text: text[: len(text) // 2], "Expecting|Unterminated|delimiter"),
        (lambda text: "", "Expecting value"),
        (forged, "it was changed after it was written"),
        (lambda text: resigned(forged(text)), "its value is 1.0, and its test metrics say 0.5"),
        (lambda text: resigned(text.replace(f"{0:016x}", f"{1:016x}")), "which is not its file's name"),
        (lambda text: resigned(text.replace(f"{0:016x}.parquet", f"{1:016x}.parquet")), "another trial's"),
        (lambda text: text.replace(": 0.5,", ": NaN,", 1), "NaN is no number"),
        (lambda text: text.replace('"seed": 0', '"seed": 0, "seed": 0', 1), "a key comes twice"),
        (lambda text: text.replace('"overrides": {}', f'"overrides": {"[" * 50_000}{"]" * 50_000}'), "nested too deep"),
        (lambda text: text.replace('"schema": 1', '"schema": 3'), "schema"),
        (lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "checksum"}), "no checksum"),
    ],
)
def test_a_torn_or_forged_file_is_refused(runs, records, edit, reason):
    tampered(runs, edit)
    said = refused(runs, records)[f"{0:016x}"]
    assert any(one in said for one in reason.split("|")), said


def test_files_that_are_not_what_they_seem_are_refused(runs, records, tmp_path):
    first, second, third, fourth, fifth = (runs.path(f"{seed:016x}") for seed in range(5))
    elsewhere = first.rename(tmp_path / "elsewhere.json")
    first.symlink_to(elsewhere)
    second.with_suffix(".parquet").write_bytes(first.with_suffix(".parquet").read_bytes() + b"x")
    with third.open("wb") as file:
        file.truncate(2**30)
    fourth.with_suffix(".parquet").unlink()
    fifth.unlink()
    os.mkfifo(fifth)
    said = refused(runs, records)
    assert "symbolic link" in said[first.stem]
    assert "changed or swapped" in said[second.stem]
    assert "1,073,741,824 bytes" in said[third.stem]
    assert "is missing" in said[fourth.stem]
    assert "not a file" in said[fifth.stem]


def test_a_failed_trial_is_taken_and_one_that_measured_nothing_is_not(runs, records, make):
    def ended(seed: int, status: str) -> Record:
        record = make(seed, status=status, failure={"message": "bad\nweather", "step": 3, "traceback": None})
        primary = replace(record.primary, value=None, score=None, solved=False)
        return changed(replace(record, primary=primary), "metrics/test", {})

    runs.write(ended(0, "diverged"), SERIES)
    assert refused(runs, records) == {}
    runs.write(ended(0, "interrupted"), SERIES)
    assert "measured nothing" in refused(runs, records)[f"{0:016x}"]


def test_what_is_there_already_is_inspected_with_more_patience(runs):
    older = json.loads(runs.path(f"{0:016x}").read_text())
    del older["checksum"]
    runs.path(older["id"]).write_text(json.dumps(older))
    runs.path(f"{4:016x}").unlink()
    found = submission.inspect(runs.folder, nothing)
    assert not found.refused
    assert any("no checksum" in remark for remark in found.findings[0].remarks)
    assert all(any("lacks seed 4" in remark for remark in one.remarks) for one in found.findings)
    tampered(runs, forged)
    assert "0.5" in submission.inspect(runs.folder, nothing).refused[0].reasons[0]
