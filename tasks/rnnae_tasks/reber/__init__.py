"""Embedded Reber grammar: predict the next symbol, and at the end of a string the second. See README.md, the card."""
