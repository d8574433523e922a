"""Where records lie unless a folder is named, seen from where the command runs."""

RUNS = "runs"
"""What runs and sweeps write."""

COMMITTED = "leaderboards/records"
"""Where a checkout keeps the records of its leaderboard."""
