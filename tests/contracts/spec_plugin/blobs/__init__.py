"""Tell which of three clouds a point is of."""
