"""NARMA-10: follow a nonlinear recursion of order ten from its input alone. See README.md, the card."""
