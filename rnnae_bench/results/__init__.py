"""Records of trials: their form, their place on disk, their summary. Nothing here imports torch."""
