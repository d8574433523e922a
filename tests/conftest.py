"""Fixtures shared by all tests."""

import copy
import gc
import hashlib
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rnnae_bench.records.document import record_from

torch.set_num_threads(1)

LONGEST = (
    "test_testing.py",
    *("sweeps/executors/test_local.py", "cli/test_sweep.py", "cli/test_run.py", "sweeps/executors/test_ray.py"),
    *("trial/vectorized/test_vectorized_trial.py", "docs/test_pages.py", "testing/test_task_exam.py"),
    *("testing/test_model_exam.py", "leaderboard/test_wandb.py", "trial/test_checkpointing.py"),
    *(
        "plugins/test_examples.py",
        "testing/test_probe_exam.py",
        "cli/test_agents_guide.py",
        "plugins/test_plugin_new.py",
    ),
)
"""Files of tests that take half a minute or more, the longest first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the suite's own tests may be asked for."""
    parser.addoption("--exam-whole", action="store_true", help="examine every model on every task that it serves")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no process is left with one of them when the others are done."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(Path(__file__).parent).as_posix()
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Set aside what was imported by now: a trial collects garbage before it begins, which would look at all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def shared_data() -> Path:
    """The real data kept beside the project; tests that want it skip where it is absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data beside the project ({folder} is absent)")
    return folder


RECORD = {
    "schema": 1,
    "id": "0123456789abcdef",
    "status": "ok",
    "failure": None,
    "task": "copy",
    "variant": "standard",
    "model": "gru",
    "seed": 0,
    "data_seed": 0,
    "overrides": {},
    "configuration": {"task": {}, "model": {}, "trainer": {}},
    "primary": {
        "metric": "recall_accuracy",
        "direction": "maximize",
        "value": 0.5,
        "floor": 0.125,
        "floor_baseline": "memoryless",
        "ceiling": 1.0,
        "score": 0.42857142857142855,
        "solved_at": 0.99,
        "solved": False,
    },
    "metrics": {"test": {"recall_accuracy": 0.5}, "validation": {}},
    "baselines": {"memoryless": {"recall_accuracy": 0.125}},
    "measures": {
        "steps": 10,
        "training_seconds": 2.0,
        "steps_per_second": 5.0,
        "peak_memory_bytes": 1000,
        "parameters": 42,
        "state_size": 8,
        "steps_to_solved": None,
        "seconds_to_solved": None,
        "clipped_fraction": 0.0,
    },
    "fingerprints": {"train": "a", "validation": "b", "test": "c"},
    "environment": {
        "host": {"processor": "x", "cores": 2, "memory_bytes": None, "system": "Linux"},
        "device": "x",
        "threads": 1,
        "accelerator": "cpu",
        "devices": 1,
        "precision": "32-true",
        "versions": {"torch": "2"},
        "plugins": {"rnnae-bench": "0.1.0"},
        "git": None,
    },
    "command": ["rnnae-bench", "run"],
    "started": "2026-01-01T00:00:00+00:00",
    "finished": "2026-01-01T00:00:02+00:00",
    "history": {"file": "0123456789abcdef.parquet", "sha256": hashlib.sha256(b"").hexdigest(), "columns": ["step"]},
}


@pytest.fixture(scope="session")
def make_document():
    """A function that makes a record as plain data, with some of its keys or of its primary metric's changed."""

    def make(value: float | None = 0.5, **changes):
        document = copy.deepcopy(RECORD)
        document["primary"]["value"] = value
        document["primary"]["score"] = None if value is None else (value - 0.125) / 0.875
        document["primary"]["solved"] = value is not None and value >= 0.99
        document.update(changes)
        document["history"]["file"] = f"{document['id']}.parquet"
        return document

    return make


@pytest.fixture(scope="session")
def make_record(make_document):
    """The same as a `Record`."""
    return lambda *arguments, **changes: record_from(make_document(*arguments, **changes))


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example plugin's wheel, unpacked onto sys.path as an installer would."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=Path(__file__).parent / "plugin_example", check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield site
    for name in [one for one in sys.modules if one.startswith("rnnae_bench_example")]:
        del sys.modules[name]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution on sys.path: its modules' texts, and its entry points by group."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(distribution, files, **groups):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        information = tmp_path / f"{distribution}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        sections = (
            f"[rnnae_bench.{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in groups.items()
        )
        (information / "entry_points.txt").write_text("\n".join(sections))

    return install


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a disk of its own with room for 4 KiB more."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    )
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    (folder / "ballast").write_bytes(bytes(60 * 1024))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def wandb_messages():
    """A function that reads the file of an offline W&B run, with the client's own message types."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    def read(path: Path) -> list:
        # A run that is finished may still be on its way to the disk until the client's service has ended.
        wandb.teardown()
        return [wandb_internal_pb2.Record.FromString(data) for data in transaction_log(path.read_bytes())]

    return read


def transaction_log(content: bytes) -> Iterator[bytes]:
    """The messages of a W&B file: LevelDB's log format, blocks of 32 KiB, after a header of seven bytes."""
    block, header = 32768, struct.Struct("<IHB")
    place, parts = 7, []
    while place + header.size <= len(content):
        left = block - place % block
        if left < header.size:
            place += left
            continue
        _, size, kind = header.unpack_from(content, place)
        parts.append(content[place + header.size : place + header.size + size])
        place += header.size + size
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []
