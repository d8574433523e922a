"""A trial on several machines: the example's script, with two "machines" on this one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "multinode" / "torchrun.sh"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_torchrun_on_two_machines_leaves_one_record(tmp_path):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    options = "--task copy:smoke --model rnn --trainer.accelerator cpu --task.protocol.max_steps 8"
    ranks = [
        subprocess.Popen(
            [str(SCRIPT), "2", str(rank), "127.0.0.1", *options.split(), "--out", str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=240)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    (path,) = tmp_path.glob("*.json")
    record = json.loads(path.read_text())
    assert record["status"] == "ok"
    assert record["environment"]["devices"] == 2
    assert record["measures"]["steps"] == 8
