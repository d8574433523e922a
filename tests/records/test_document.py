"""A record's form: read strictly, told in a line, written as it was read; the published schema is that of the type."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from rnnae_bench.records import record
from rnnae_bench.records.document import checksum, document_of, encoded, load, record_from, schema
from rnnae_bench.records.identity import identity

COMMITTED = sorted((Path(__file__).parents[2] / "leaderboards" / "records").glob("*.json"))
PUBLISHED = Path(record.__file__).with_name("record.schema.json")


def test_the_published_schema_is_that_of_the_type():
    """CONTRIBUTING says how it is written anew."""
    assert json.loads(PUBLISHED.read_text()) == schema()


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_record_is_written_as_it_was_read(path):
    content = path.read_bytes()
    found = load(path)
    assert encoded(found) == content
    assert found.checksum == checksum(json.loads(content))
    assert (found.id, found.schema) == (path.stem, 1)


CHANGES = [
    ({"status": "fine"}, "status: is none of its values: 'fine'; one of ok, diverged, oom, "),
    ({"extra": 1}, "the document: has an unknown key extra"),
    ({"id": "0123456789abcdef\n"}, "id: expected str matching regex"),
    ({"seed": True}, "seed: expected int, got bool"),
    ({"seed": 1.0}, "seed: expected int, got float"),
    ({"data_seed": -1}, "data_seed: expected int >= 0"),
    ({"failure": {"message": "x", "step": 1}}, "failure: misses traceback"),
    ({"primary": []}, "primary: expected object, got array"),
    ({"command": ["run", 1]}, "command.1: expected str, got int"),
    (
        {"metrics": {"test": {"accuracy": 1, "a.b": "x"}, "validation": {}}},
        "metrics.test.a.b: expected int | float | null",
    ),
    ({"metrics": {"test": {}}}, "metrics: misses validation"),
    ({"fingerprints": {"test": "a"}}, "fingerprints: misses train, validation"),
    ({"measures": {}}, "measures: misses steps"),
    ({"started": "yesterday"}, "started: is no time in a form such as 2026-01-31T23:59:59+00:00"),
    ({"schema": 3}, "schema: is none of its values: 3; one of 1, 2"),
    ({"absent": {}}, "absent: is left out where it says nothing"),
    (
        {"history": {"file": "../../etc/passwd", "sha256": "0" * 64, "columns": []}},
        "history.file: expected str matching",
    ),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES, ids=[reason for _, reason in CHANGES])
def test_what_does_not_fit_is_told_with_its_place(make_document, change, reason):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        record_from({**make_document(), **change})
    assert str(error.value).startswith(reason)


@pytest.mark.parametrize(
    ("part", "key", "value", "reason"),
    [
        ("primary", "value", "0.5", "primary.value: expected int | float | null, got str"),
        ("primary", "ceiling_baseline", None, "primary.ceiling_baseline: is left out where it says nothing"),
        ("measures", "steps", -1, "measures.steps: expected int >= 0"),
        ("measures", "anything", [1], "measures.anything: expected int | float | str | null, got array"),
        (
            "environment",
            "vectorized",
            {"members": 0, "seconds": 1},
            "environment.vectorized.members: expected int >= 1",
        ),
        ("environment", "vectorized", None, "environment.vectorized: is left out where it says nothing"),
    ],
)
def test_a_part_that_does_not_fit_too(make_document, part, key, value, reason):
    made = make_document()
    made[part][key] = value
    with pytest.raises(ValueError, match="^" + reason.replace("|", r"\|").replace("[", r"\[") + "$"):
        record_from(made)


def test_every_key_of_a_record_is_needed_and_an_independent_validator_agrees(make_document):
    validator = Draft202012Validator(schema())
    Draft202012Validator.check_schema(schema())
    validator.validate(make_document())
    for key in make_document():
        broken = {name: value for name, value in make_document().items() if name != key}
        assert not validator.is_valid(broken)
        with pytest.raises(ValueError, match=f"^the document: misses {key}$"):
            record_from(broken)


SECOND = {
    "schema": 2,
    "metrics": {"test": {"accuracy": 0.5}, "validation": {}, "test@16x": {"accuracy": 0.25}},
    "needed_lag": 100,
    "data_version": "2",
    "weights": {"file": "0123456789abcdef.safetensors", "sha256": "0" * 64},
}


def test_the_second_form_has_room_for_more_and_the_first_has_not(make_document):
    found = record_from(make_document(**SECOND))
    assert (found.needed_lag, found.metrics["test@16x"]) == (100, {"accuracy": 0.25})
    assert document_of(found) == json.loads(encoded(found)) == make_document(**SECOND)
    Draft202012Validator(schema()).validate(document_of(found))
    for key in SECOND.keys() - {"schema"}:
        with pytest.raises(ValueError, match=f"^the document: has an unknown key {key}"):
            record_from(make_document(**{key: SECOND[key]}))


def test_an_id_is_made_by_the_same_rule_in_either_form():
    options = {"task": {}, "model": {"hidden_size": 8}, "trainer": {"precision": "32-true", "deterministic": None}}
    found = identity("copy:standard", "gru", options, {"devices": 1}, (0, 0), {"rnnae-bench": "0.1.0"})
    # Of the suite before there was a second form.
    assert found == "f2c1abc9e63ebef6"
