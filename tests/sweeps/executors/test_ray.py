"""Jobs on a Ray cluster: one started on this machine, and one of several nodes of which one is lost."""

import contextlib
import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rnnae_bench.errors import UserError
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.base import Advanced, Ended, Lost
from rnnae_bench.sweeps.executors.job import Refusal, Setting
from rnnae_bench.sweeps.executors.ray import RayExecutor

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def test_jobs_on_a_cluster_of_this_machine(tmp_path, setting, job_of, ends_of):
    executor = RayExecutor(tmp_path, None, threads=1, flush_every=0.0)
    try:
        wrong = executor.plan(Setting("copy:smoke", "gru", {"model": {"hidden_size": 0}}), [0])
        assert isinstance(wrong, Refusal)
        assert "hidden_size is 0" in wrong.reason
        good = job_of(executor, setting("none"), loggers=("csv",), pictures=True)
        jobs = [
            good,
            job_of(executor, setting("none", steps=30), seeds=(1, 2)[:1]),
            job_of(executor, setting("segfault")),
            job_of(executor, setting("sleep"), time_limit=10.0),
            job_of(executor, setting("kill")),
        ]
        ends = ends_of(executor, jobs, patience=240.0)
    finally:
        executor.close()
    assert isinstance(ends.pop(jobs[-1].name), Lost)
    records = {end.job: end.records[0] for end in ends.values()}
    assert [records[job.name].status for job in jobs[:-1]] == ["ok", "ok", "error", "timeout"]
    kept = Store(tmp_path).read()
    assert not kept.unreadable
    assert {record.id: record for record in kept.records} == records
    assert (tmp_path / f"{good.name}.png").exists()
    assert (tmp_path / "logs" / "csv" / good.name / "metrics.csv").exists()
    for name in (jobs[2].name, jobs[3].name):
        assert Store(tmp_path).series(records[name])["gradient_norm"].steps.tolist() == list(range(1, 20))
    assert "Segmentation fault" in records[jobs[2].name].failure.traceback


def test_a_job_of_a_lost_node_is_done_on_another(tmp_path, setting, job_of):
    from ray.cluster_utils import Cluster

    note = tmp_path / "note"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1)
        # The share of a GPU does not count in a cluster that has none.
        executor = RayExecutor(tmp_path / "runs", cluster.address, threads=1, gpus_per_trial=1.0, flush_every=0.0)
        try:
            job = job_of(executor, setting("wait once", note))
            executor.submit(job)
            assert not executor.has_room(job)
            while not any(isinstance(event, Advanced) and event.step > 0 for event in executor.events(60.0)):
                pass
            while not note.exists():
                executor.events(1.0)
            cluster.add_node(num_cpus=1)
            cluster.remove_node(node, allow_graceful=False)
            ends = []
            while not ends:
                ends = [event for event in executor.events(60.0) if not isinstance(event, Advanced)]
        finally:
            executor.close()
    finally:
        cluster.shutdown()
        logging.getLogger("ray").handlers.clear()
    (end,) = ends
    assert isinstance(end, Ended), end
    assert end.records[0].status == "ok"
    assert Store(tmp_path / "runs").find(job.name) == end.records[0]


def test_an_address_where_no_cluster_is(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"no Ray cluster answers at 127.0.0.1:{port}: Connection refused"):
            RayExecutor(tmp_path, f"127.0.0.1:{port}", threads=1)
    with pytest.raises(UserError, match="'elsewhere' is no address of a Ray cluster; give HOST:PORT, or auto"):
        RayExecutor(tmp_path, "elsewhere", threads=1)


def processes() -> list[str]:
    """The names of all that run on this machine."""
    names = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            names.append(path.read_text().strip())
    return names


def test_auto_where_no_cluster_is(tmp_path):
    if "gcs_server" in processes():
        pytest.skip("somebody runs a Ray cluster on this machine")
    with pytest.raises(UserError, match=r"no Ray cluster at auto: .*Could not find any running Ray instance"):
        RayExecutor(tmp_path, "auto", threads=1)


def test_without_ray_it_is_named():
    code = "import sys; sys.modules['ray'] = None; import rnnae_bench.sweeps.executors.ray"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "--executor ray needs Ray; install it in the checkout of rnnae-bench: pip install '.[ray]'" in done.stderr
