"""What lies around a trial has no say in its result, or is refused."""

import logging
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from rnnae_bench.errors import UserError
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.process_state import ProcessState
from rnnae_bench.trial.trial import Trial

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

OPTIONS = {"task": {"protocol": {"max_steps": 6, "evaluate_every": 3}}, "model": {"hidden_size": 4}}
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_JOB_NAME": "train",
    "SLURM_JOB_ID": "4242",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "3",
    "SLURM_NODEID": "0",
}
TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "7", "MASTER_ADDR": "192.0.2.1"}
TRAINER = {
    "FAST_DEV_RUN": "1",
    "LIMIT_TRAIN_BATCHES": "2",
    "LIMIT_VAL_BATCHES": "0",
    "LIMIT_TEST_BATCHES": "0",
    "OVERFIT_BATCHES": "1",
    "MAX_TIME": "00:00:00:00",
    "MIN_STEPS": "100",
    "GRADIENT_CLIP_VAL": "0.001",
    "PRECISION": "64-true",
    "BARBARIC": "1",
}


class Surroundings(Callback):
    """Notes what a running trial finds."""

    def on_train_start(self, trainer, pl_module):
        self.folder = trainer.default_root_dir
        self.on_signal = signal.getsignal(signal.SIGUSR1)
        self.state = ProcessState.now()


def run(folder, seed: int = 0, **options) -> tuple:
    pair, watch = Pair("copy:smoke", "gru"), Surroundings()
    outcome = Trial(pair, pair.resolve({**OPTIONS, **options}), seed).run(Store(folder), ["x"], [watch])
    (record,) = Store(folder).read().records
    return record, outcome.series, watch


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(tmp_path_factory.mktemp("plain"))


def same(one: tuple, two: tuple) -> None:
    for key in ("status", "id", "metrics", "failure", "fingerprints", "configuration", "baselines"):
        assert getattr(one[0], key) == getattr(two[0], key)
    assert one[0].environment.devices == two[0].environment.devices
    assert one[0].measures.steps == two[0].measures.steps == 6
    assert one[1].keys() == two[1].keys()
    for name, series in one[1].items():
        np.testing.assert_array_equal(series.steps, two[1][name].steps)
        np.testing.assert_array_equal(series.values, two[1][name].values)


@pytest.mark.parametrize(
    "variables",
    [SLURM, TORCHRUN, {f"PL_TRAINER_{name}": value for name, value in TRAINER.items()}, {"PL_GLOBAL_SEED": "5"}],
    ids=["slurm", "torchrun", "trainer", "seed"],
)
def test_variables_and_files_have_no_say(variables, plain, tmp_path, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rnnae_bench.trial.layout._LAYOUTS", {})
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "hpc_ckpt_1.ckpt").write_bytes(b"another trial's weights")
    found = run(tmp_path / "runs")
    same(found, plain)
    assert [path.name for path in work.iterdir()] == ["hpc_ckpt_1.ckpt"]
    assert not str(found[2].folder).startswith(str(tmp_path))
    assert not Path(found[2].folder).exists()
    assert found[2].on_signal.__module__ == "rnnae_bench.trial.interruption"
    assert {name: os.environ[name] for name in variables} == variables


def test_settings_that_a_plugin_left_have_no_say_and_stand_again_afterwards(plain, tmp_path):
    untouched = ProcessState.now()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.allow_tf32 = False
        np.seterr(all="raise")
        before = ProcessState.now()
        same(run(tmp_path), plain)
        assert ProcessState.now() == before
    finally:
        untouched.restore()


def test_no_signal_of_slurm_has_lightning_write_a_checkpoint_on_several_devices(monkeypatch):
    several = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name, value in {**SLURM, **several}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rnnae_bench.trial.layout._LAYOUTS", {})
    pair = Pair("copy:smoke", "gru")
    options = {**OPTIONS, "trainer": {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}}
    made = Trial(pair, pair.resolve(options), 0)
    assert made.layout["devices"] == 2
    trainer = made.trainer([], [], Path("nowhere"))
    cluster = trainer._accelerator_connector.cluster_environment
    assert isinstance(cluster, SLURMEnvironment)
    assert not cluster.auto_requeue


@pytest.mark.parametrize("name", ["ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"])
def test_a_variable_that_changes_the_arithmetic_is_refused(name, monkeypatch):
    pair = Pair("copy:smoke", "gru")
    options = pair.resolve({**OPTIONS, "trainer": {"accelerator": "cpu"}})
    monkeypatch.setenv(name, "STRICT")
    Trial(pair, options, 0)
    monkeypatch.setenv(name, "BF16")
    with pytest.raises(UserError, match=f"{name}=BF16 in the environment .* unset it"):
        Trial(pair, options, 0)


def test_options_are_not_taken_from_the_environment(monkeypatch):
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    monkeypatch.setenv("RNNAE_BENCH_RUN_MODEL__HIDDEN_SIZE", "3")
    pair = Pair("copy:smoke", "gru")
    assert pair.resolve({})["model"]["hidden_size"] == pair.options(pair.parse([]))["model"]["hidden_size"] != 3
