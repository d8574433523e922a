"""Counting languages: predict the next symbol where counting tells it."""
