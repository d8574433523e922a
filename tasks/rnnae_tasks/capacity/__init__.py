"""Memory capacity: how many of its past inputs a model can tell at once. See README.md, the card."""
