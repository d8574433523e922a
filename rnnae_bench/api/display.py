"""Where what happens is shown: a terminal, a notebook's cell, or neither."""

import io
import sys
from typing import Any

from rich.console import Console, RenderableType

_WIDTH = 110
"""Characters of a line in a notebook."""


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")


def progress_console(progress: bool = True) -> Console:
    """The console for progress: standard error, in a notebook the cell's output; without progress, nowhere."""
    if in_notebook():
        return Console(file=sys.stdout, width=_WIDTH, force_jupyter=False, force_terminal=False, quiet=not progress)
    return Console(stderr=True, quiet=not progress)


class NotebookLive:
    """What rich's Live is on a terminal: something that is drawn again and again in one place.

    rich's own asks for ipywidgets in a notebook, and for their extension in what shows it; this needs neither.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def update(self, shown: RenderableType) -> None:
        """Draw it in place of what was drawn before."""
        from IPython.display import HTML, display

        console = Console(file=io.StringIO(), record=True, width=_WIDTH, force_jupyter=False)
        console.print(shown)
        page = HTML(console.export_html(inline_styles=True, code_format='<pre style="margin: 0">{code}</pre>'))
        if self._handle is None:
            self._handle = display(page, display_id=True)
        else:
            self._handle.update(page)

    def stop(self) -> None:
        """Take it away."""
        from IPython.display import HTML

        if self._handle is not None:
            self._handle.update(HTML(""))
            self._handle = None
