"""Lightning's own messages stay out of what the commands print."""

import subprocess
import sys

SCRIPT = """
import sys
from rnnae_bench import lightning_log
assert "lightning" not in sys.modules
{}
from lightning import Trainer
Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", barebones=False)
"""


def said(before: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before)], capture_output=True, text=True, check=True, timeout=120
    ).stderr


def test_a_trainer_says_nothing_in_a_process_that_keeps_to_errors():
    assert "GPU available" in said("")
    assert said("lightning_log.errors_only()") == ""
