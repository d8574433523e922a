"""Keras 3 on torch, as models of rnnae-bench."""
