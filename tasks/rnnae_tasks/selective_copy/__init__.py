"""Selective copying: symbols at random places among blanks, repeated in order. See README.md, the card."""
