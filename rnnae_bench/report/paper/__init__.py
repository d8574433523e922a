"""Figures for a paper: one file a kind, what they draw from, and the style that they share."""
