"""Links from a page to a file of the repository work in a checkout, and lead to the repository on the site."""

import logging
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

LINK = re.compile(r"(?<=\]\()(?P<path>(?:\.\./)+[^)#\s]+)")
LOG = logging.getLogger("mkdocs.hooks.repository_links")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Replace links that leave the folder of the pages; one to a file that is not there is a warning."""
    root = Path(config.docs_dir).parent

    def address(found: re.Match[str]) -> str:
        target = Path(os.path.normpath(Path(config.docs_dir, page.file.src_uri).parent / found["path"]))
        if target.is_relative_to(config.docs_dir):
            return found["path"]
        if not target.exists():
            LOG.warning(f"{page.file.src_uri} links to {found['path']}, which is not in the repository")
        kind = "tree" if target.is_dir() else "blob"
        return f"{config.extra['repository']}/{kind}/main/{target.relative_to(root).as_posix()}"

    return LINK.sub(address, markdown)
