"""Records of trials: their form, their place on disk, and queries over them. Nothing here imports torch."""
