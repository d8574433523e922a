"""MNIST-1D: which of ten drawn figures lies somewhere in a noisy series of 40 numbers. See README.md, the card."""
