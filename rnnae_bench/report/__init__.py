"""One result shown: tables for a terminal and for Markdown, pictures, a page. Nothing here imports torch."""
