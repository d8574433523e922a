"""The static site over a folder of records: pages that open from disk, need no network and run nothing of a record."""
