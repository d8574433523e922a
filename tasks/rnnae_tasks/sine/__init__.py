"""Sine forecasting: read a window of a noisy sine, then continue it alone. See README.md, the card."""
