"""The checks of a model's exam, one file a subject."""
