"""The checks of a probe, by what they look at; each is a trial with the probe beside one without it."""
