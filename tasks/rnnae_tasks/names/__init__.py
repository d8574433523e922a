"""Surnames: read a name letter by letter, then say its language. See README.md, the card."""
