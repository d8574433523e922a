"""Equations between dollar signs become MathML while the site is built: no script and no font from elsewhere."""

import html
import re

from latex2mathml.converter import convert

EQUATION = re.compile(r'<(?P<tag>span|div) class="arithmatex">(?P<latex>.*?)</(?P=tag)>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """Convert what Arithmatex marked."""
    return EQUATION.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    block = found["tag"] == "div"
    latex = html.unescape(found["latex"]).strip().removeprefix(r"\(").removesuffix(r"\)")
    latex = latex.removeprefix(r"\[").removesuffix(r"\]")
    equation = convert(latex.strip(), display="block" if block else "inline")
    return f'<div class="equation">{equation}</div>' if block else equation
