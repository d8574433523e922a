"""Where loggers say that they wrote."""

import pytest

from rnnae_bench.leaderboard.trackers.places import written_by

FIRST, SECOND = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def root(tmp_path):
    for folder in (
        f"csv/{FIRST}",
        f"tensorboard/{FIRST}",
        f"tensorboard/{SECOND}",
        f"wandb/offline-run-20260101_000000-{FIRST}",
        f"wandb/offline-run-20260102_000000-{FIRST}",
        f"wandb/run-20260101_000000-{SECOND}",
    ):
        (tmp_path / "my runs" / "logs" / folder).mkdir(parents=True)
    return tmp_path / "my runs"


def test_each_logger_says_where_and_how_to_show_or_send_it(root):
    logs = root / "logs"
    newest = logs / "wandb" / f"offline-run-20260102_000000-{FIRST}"
    assert written_by(root, ["csv", "tensorboard", "wandb"], [FIRST]) == [
        f"csv         {logs}/csv/{FIRST}",
        f"tensorboard {logs}/tensorboard/{FIRST}",
        f"            tensorboard --logdir '{logs}/tensorboard'",
        f"wandb       {newest}",
        f"            wandb sync '{newest}'",
    ]


def test_what_was_sent_needs_no_sync_and_what_is_missing_is_said(root):
    logs = root / "logs"
    assert written_by(root, ["wandb", "csv"], [SECOND]) == [
        f"wandb       {logs}/wandb/run-20260101_000000-{SECOND}",
        "csv         nothing was written",
    ]


def test_of_many_trials_the_folder_is_named(root):
    ids = [f"{number:016x}" for number in range(5)]
    for identity in ids:
        (root / "logs" / "wandb" / f"offline-run-20260103_000000-{identity}").mkdir()
    wandb = root / "logs" / "wandb"
    assert written_by(root, ["wandb"], ids) == [
        f"wandb       {wandb} (5 trials)",
        f"            wandb sync '{wandb}'/offline-run-*",
    ]
    assert written_by(root, ["wandb"], ids[:2])[1].count("offline-run-20260103") == 2
