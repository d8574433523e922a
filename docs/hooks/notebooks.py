"""Notebooks become pages: their text and code, and with ``EXECUTE_NOTEBOOKS=1 mkdocs build`` what the cells show.

The notebook itself lies beside its page, to download.
"""

import base64
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

LINK = re.compile(r"(?<=\]\()(?P<path>notebooks/\w+)\.ipynb(?=\))")


def on_files(files: Files, config: MkDocsConfig, **_: object) -> Files:
    """Add a page for each notebook, and a file for each picture that it shows."""
    for file in [each for each in files if each.src_uri.endswith(".ipynb")]:
        notebook = nbformat.read(Path(config.docs_dir, file.src_uri), as_version=4)
        if os.environ.get("EXECUTE_NOTEBOOKS") == "1":
            execute(notebook)
        place = Path(file.src_uri).with_suffix("")
        pictures: list[bytes] = []

        def keep(picture: bytes, place: Path = place, pictures: list[bytes] = pictures) -> str:
            name = f"{place.name}-{len(pictures)}.png"
            pictures.append(picture)
            files.append(File.generated(config, (place.parent / name).as_posix(), content=picture))
            return name

        page = as_markdown(notebook, Path(file.src_uri).name, keep)
        files.append(File.generated(config, f"{place.as_posix()}.md", content=page))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links to notebooks lead to their pages."""
    return LINK.sub(r"\g<path>.md", markdown)


def execute(notebook: nbformat.NotebookNode) -> None:
    """Run all cells in a folder that is thrown away."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()


def as_markdown(notebook: nbformat.NotebookNode, name: str, keep: Callable[[bytes], str]) -> str:
    """A page of a notebook's cells and what they show; `keep` takes a picture and gives the name of its file."""
    parts: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            if len(parts) == 1:
                parts.append(f"[Download this notebook]({name})")
        else:
            parts.append(f"```python\n{cell.source}\n```")
            parts += [shown for output in cell.get("outputs", []) if (shown := _shown(output.get("data", {}), keep))]
    return "\n\n".join(parts) + "\n"


def _shown(data: dict[str, Any], keep: Callable[[bytes], str]) -> str | None:
    if "image/png" in data:
        return f"![Output]({keep(base64.b64decode(data['image/png']))})"
    if "text/html" in data:
        # Without blank lines it is one block of HTML to Markdown.
        lines = [line.strip() for line in data["text/html"].splitlines() if line.strip()]
        return '<div class="output">\n' + "\n".join(lines) + "\n</div>" if lines else None
    return f"```text\n{data['text/plain']}\n```" if "text/plain" in data else None
