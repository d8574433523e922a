"""Dynamics: learn a dynamical system by one-step prediction, then go on alone. See README.md, the card."""
