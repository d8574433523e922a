"""Parity: one bit of state, which every one flips."""
