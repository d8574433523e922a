"""Data that several tasks share, packed beside the modules that read them."""
