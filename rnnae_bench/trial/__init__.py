"""One trial, from options to record: what it runs in, how it ends, and how it is run again."""
