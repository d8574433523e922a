"""Time series of the UCR archive: read one, say what it shows. See README.md, the card."""
