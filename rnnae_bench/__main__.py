"""``python -m rnnae_bench``: the same as the ``rnnae-bench`` command."""

import sys

from rnnae_bench.cli import main

if __name__ == "__main__":
    sys.exit(main())
