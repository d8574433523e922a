"""What a notebook calls, and what the command line calls too: run, sweep, horizon, load, compare, probe, standings."""
