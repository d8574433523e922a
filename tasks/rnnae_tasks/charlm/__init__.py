"""Character-level language modelling: read a text, and say at each step which character follows. See README.md."""
