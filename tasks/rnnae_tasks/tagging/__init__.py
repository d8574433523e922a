"""Tagging: say at each roll which of two dice was thrown, from the rolls before and after."""
