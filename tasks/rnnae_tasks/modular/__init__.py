"""Products in a finite group, or arithmetic modulo five, at any length."""
