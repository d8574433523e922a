"""Dates: from what people write to ISO 8601, one sequence to another of another length."""
