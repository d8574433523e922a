"""What a notebook calls, and what the command line calls too: run, sweep, load, compare, probe, standings."""
