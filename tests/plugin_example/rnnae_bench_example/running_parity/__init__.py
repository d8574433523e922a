"""Parity: has the number of ones so far been odd? See README.md, the card."""
