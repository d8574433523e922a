"""A task of somebody else's, with everything that a task may give beyond the least."""
