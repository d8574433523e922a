"""Give a chord back through a code of four numbers."""
