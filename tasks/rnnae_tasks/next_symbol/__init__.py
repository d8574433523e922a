"""Next symbol: read a short text that repeats, and say at each step which symbol follows. See README.md, the card."""
