"""The built-in tasks, one folder each; each is registered in pyproject.toml like anyone else's."""
