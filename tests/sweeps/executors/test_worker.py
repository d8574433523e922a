"""What the worker process does within itself."""

import os
from multiprocessing.connection import Pipe

import numpy as np
import torch

from rnnae_bench.sweeps.executors.worker import _tell, _tell_if_heard
from rnnae_bench.trial.process_state import ProcessState


def test_a_parent_that_does_not_listen_holds_nothing_up():
    ours, theirs = Pipe()
    sent = 100_000
    for step in range(sent):
        _tell_if_heard(theirs, {"advanced": {"step": step, "value": 0.5}})
    theirs.close()
    heard = []
    while True:
        try:
            heard.append(ours.recv_bytes())
        except EOFError:
            break
    assert 0 < len(heard) < sent
    assert heard[-1] == b'{"advanced": {"step": %d, "value": 0.5}}' % (len(heard) - 1)
    ours.close()


def test_what_must_be_heard_is_said_whole():
    ours, theirs = Pipe()
    _tell(theirs, {"ended": {"records": ["\n" * 1000]}})
    assert b"\\n" * 1000 in ours.recv_bytes()
    ours.close()
    theirs.close()


def test_what_a_trial_leaves_changed_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT", "1")
    before = ProcessState.now()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        torch.autograd.set_detect_anomaly(True)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.benchmark = True
        np.seterr(all="raise")
        os.environ["LEFT"] = "1"
        del os.environ["KEPT"]
        os.chdir(tmp_path)
        assert ProcessState.now() != before
    finally:
        before.restore()
    assert ProcessState.now() == before
    assert torch.zeros(1).dtype == torch.float32
    assert torch.zeros(1).device.type == "cpu"
    assert os.environ["KEPT"] == "1"
    assert "LEFT" not in os.environ
