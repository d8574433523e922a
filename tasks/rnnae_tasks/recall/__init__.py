"""Multi-query associative recall: which value went with this key? See README.md, the card."""
