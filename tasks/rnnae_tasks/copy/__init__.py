"""Copy memory: remember ten symbols across a gap, then write them down. See README.md, the card."""
