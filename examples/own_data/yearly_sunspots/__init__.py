"""A task: sunspots, year by year."""
