"""Lightning's own messages stay out of what the commands print."""

import subprocess
import sys

SCRIPT = """
import sys
from lightning import Trainer
from rnnae_bench.training.lightning import errors_only
options = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
Trainer(**options)
print("now only errors", file=sys.stderr, flush=True)
errors_only()
Trainer(**options)
"""


def test_a_trainer_says_nothing_in_a_process_that_keeps_to_errors():
    command = [sys.executable, "-c", SCRIPT]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr
    before, _, after = said.partition("now only errors\n")
    assert "GPU available" in before
    assert after == ""
