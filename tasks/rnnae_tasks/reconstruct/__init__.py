"""Reconstruction through a code of a size that the task sets. See README.md, the card."""
