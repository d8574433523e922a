"""The built-in models, one file a family; each is registered in pyproject.toml like anyone else's."""
