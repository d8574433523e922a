"""Say a string backwards."""
