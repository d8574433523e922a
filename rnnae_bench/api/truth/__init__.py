"""The table of truth: published figures and closed forms beside what this suite measures for the same."""
