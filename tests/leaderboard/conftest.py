"""A W&B server on loopback, and the real client as on a machine where nobody has used it."""

import gc
import importlib.util
import sys
import warnings
from pathlib import Path

import pytest
import wandb
from wandb.sdk.artifacts import artifact_instance_cache


@pytest.fixture(scope="session")
def wandb_server():
    """The module of that name beside this file, which is no package."""
    specification = importlib.util.spec_from_file_location("wandb_server", Path(__file__).with_name("wandb_server.py"))
    module = importlib.util.module_from_spec(specification)
    sys.modules["wandb_server"] = module
    specification.loader.exec_module(module)
    return module


def isolate(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make the client as on a machine where nobody has used it, its files in a folder."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_SILENT"):
        patch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):
        patch.setenv(name, str(folder / name))
    patch.setenv("NETRC", str(folder / "netrc"))
    patch.setenv("WANDB_ERROR_REPORTING", "false")
    # Where nobody listens, should anything go past a test's own server.
    patch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """No server and no key."""
    isolate(monkeypatch, tmp_path / "client")
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.fixture(scope="module")
def server(tmp_path_factory, wandb_server):
    """The server that the client uses, with a key to it."""
    made = wandb_server.WandbServer(page=2)
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("client"))
        patch.setenv("WANDB_BASE_URL", made.url)
        patch.setenv("WANDB_API_KEY", wandb_server.KEY)
        wandb.teardown()
        yield made
        wandb.teardown()
    made.close()
    forget_artifacts()


def forget_artifacts() -> None:
    """Have the client let go of the last hundred artifacts, which it keeps.

    Those of tables have a temporary folder that nobody closes, of which Python warns in whatever test is running when
    the hundred and first comes.
    """
    artifact_instance_cache.artifact_instance_cache.clear()
    artifact_instance_cache.artifact_instance_cache_by_client_id.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
