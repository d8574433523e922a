"""``python -m rnnae_bench``: the same as the ``rnnae-bench`` command."""

import signal
import sys

from rnnae_bench.cli import main


def run() -> int:
    """Run the command line in a process of its own; returns the exit code."""
    code = main()
    # All is written: a late Ctrl-C ends the process, without a traceback from amid the interpreter's own end.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code


if __name__ == "__main__":
    sys.exit(run())
