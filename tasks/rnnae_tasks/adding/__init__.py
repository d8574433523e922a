"""The adding problem: the sum of two marked numbers, far apart. See README.md, the card."""
