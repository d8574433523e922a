"""Options as text and as plain data: how they are read, written and checked."""
