"""Imputation: fill the gaps of a noisy series. See README.md, the card."""
