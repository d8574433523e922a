"""Temporal order: in which order did the X and Y come, far apart? See README.md, the card."""
