"""Flip-flop: keep one bit while everything else is to be ignored."""
