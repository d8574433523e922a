"""The file of samples: what was kept comes back, within its limit, and another's file is read with care."""

import io
import re
import zipfile

import numpy as np
import pytest

from rnnae_bench.records import samples, transactions
from rnnae_bench.records.store import Store


def some(rows: int, size: int) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(0).random((rows, size), dtype=np.float32)
    return {"rows": np.arange(rows), "inputs": noise, "targets": noise + 1, "prediction": noise + 2}


def test_what_was_kept_comes_back(tmp_path):
    kept = some(3, 5)
    (tmp_path / "a.npz").write_bytes(samples.encode(kept))
    found = samples.read(tmp_path / "a.npz")
    assert [*found] == [*kept]
    for name, values in kept.items():
        np.testing.assert_array_equal(found[name], values)
    assert samples.encode(kept) == samples.encode(kept)


def test_no_more_rows_are_kept_than_fit(tmp_path):
    content = samples.encode(some(8, 40_000))
    assert len(content) <= samples.LARGEST
    (tmp_path / "a.npz").write_bytes(content)
    assert samples.read(tmp_path / "a.npz")["rows"].tolist() == [0, 1]
    assert samples.encode(some(2, 400_000)) is None


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.npy", bytes(2**27))
    return buffer.getvalue()


def archive(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no archive", "can't be read"),
        (bytes(2**20 + 1), "is larger than 1,048,576 bytes"),
        (bomb(), "takes more than 67,108,864 bytes when read"),
        (archive(rows=np.array([{"a": 1}], dtype=object)), "can't be read"),
        (archive(rows=np.arange(2)), "does not hold rows, inputs, targets, prediction"),
        (archive(**some(2, 3) | {"targets": np.zeros(5)}), "with one entry a row each"),
    ],
)
def test_what_holds_no_samples_is_refused(content, reason, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(reason)):
        samples.read(tmp_path / "a.npz")


def beside(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_they_are_replaced_with_their_record_and_never_lost(make_record, tmp_path):
    here, record, old, new = (
        Store(tmp_path),
        make_record(schema=2),
        samples.encode(some(2, 3)),
        samples.encode(some(3, 3)),
    )
    here.write(record, {}, old)
    before = here.find(record.id)
    assert here.samples(before)["rows"].tolist() == [0, 1]
    here.write(make_record(schema=2, command=["again"]), {}, new)
    after = here.find(record.id)
    assert here.samples(after)["rows"].tolist() == [0, 1, 2]
    assert beside(tmp_path) == sorted([f"{record.id}.json", f"{record.id}.parquet", after.samples.file])
    ((path, superseded),) = here.superseded().items()
    assert superseded == before
    assert Store(path.parent).samples(superseded)["rows"].tolist() == [0, 1]
    here.write(record, {})
    assert here.find(record.id).samples is None
    assert here.samples(here.find(record.id)) is None
    assert beside(tmp_path) == [f"{record.id}.json", f"{record.id}.parquet"]


def test_a_write_that_fails_leaves_the_samples_that_were(make_record, tmp_path, monkeypatch):
    here, record = Store(tmp_path), make_record(schema=2)
    here.write(record, {}, samples.encode(some(2, 3)))
    before, files = here.find(record.id), beside(tmp_path)
    write = transactions.write_atomically

    def fails(path, content):
        if path.suffix == ".json":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(transactions, "write_atomically", fails)
    with pytest.raises(OSError, match="No space"):
        here.write(make_record(schema=2, command=["again"]), {}, samples.encode(some(3, 3)))
    assert (here.find(record.id), beside(tmp_path)) == (before, files)
    with pytest.raises(OSError, match="No space"):
        here.write(make_record(schema=2, id="f" * 16), {}, samples.encode(some(3, 3)))
    assert beside(tmp_path) == files


def test_what_a_killed_process_left_is_tidied(make_record, tmp_path):
    here, record = Store(tmp_path), make_record(schema=2)
    here.write(record, {}, samples.encode(some(2, 3)))
    files = beside(tmp_path)
    for name in (f"{record.id[:8]}00000000.samples.npz", "1111111100000000.samples.npz"):
        (tmp_path / name).write_bytes(samples.encode(some(3, 3)))
    here.tidy()
    assert beside(tmp_path) == files


def test_those_of_another_record_are_not_adopted(make_record, tmp_path):
    there, here, record = Store(tmp_path / "there"), Store(tmp_path / "here"), make_record(schema=2)
    there.write(record, {}, samples.encode(some(2, 3)))
    record = there.find(record.id)
    table = (there.folder / record.history.file).read_bytes()
    with pytest.raises(ValueError, match=r"samples of record .* are not those that it names"):
        here.adopt(record, table, samples.encode(some(3, 3)))
    here.adopt(record, table, there.kept_samples(record))
    assert here.samples(record)["rows"].tolist() == [0, 1]


def test_what_is_about_the_whole_set_has_entries_of_its_own_number(tmp_path):
    kept = {**some(3, 5), "test/confusion": np.eye(7, dtype=int), "names/inputs": np.array(list("ab"))}
    (tmp_path / "a.npz").write_bytes(samples.encode(kept))
    found = samples.read(tmp_path / "a.npz")
    assert [*samples.of_rows(found)] == ["rows", "inputs", "targets", "prediction"]
    np.testing.assert_array_equal(found["test/confusion"], np.eye(7))
    assert found["names/inputs"].tolist() == ["a", "b"]


def test_rows_are_kept_before_what_is_about_the_whole_set():
    noise = np.random.default_rng(0).random((600, 600))
    found = samples.decode(samples.encode({**some(2, 5), "test/codes": noise}))
    assert "test/codes" not in found
    assert len(found["rows"]) == 2
