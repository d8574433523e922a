"""What records say together: rows over seeds, ranks, contrasts and equivalence. Nothing here imports torch."""
