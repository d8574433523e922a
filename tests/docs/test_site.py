"""The pages build into a site without a warning; its links lead somewhere, and nothing comes from another host."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class Links(HTMLParser):
    """What a page refers to, and what may be referred to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loaded = {""}, [], []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.anchors |= {named[key] for key in ("id", "name") if named.get(key)}
        for key in ("href", "src"):
            if (value := named.get(key)) is not None:
                (self.links if tag == "a" else self.loaded).append(value)


def test_links_lead_somewhere_and_nothing_comes_from_another_host(site):
    pages = {path: Links(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 20
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert link in page.links, f"{path.name} loads {link}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.name}: {link}"
            if target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path.name}: {link}"


def test_equations_are_mathml(site):
    text = (site / "gradients-through-time.html").read_text(encoding="utf-8")
    assert text.count('<div class="equation"><math') >= 5
    assert "<mfrac>" in text
    assert not re.search(r"arithmatex|\\frac|\\\(", text)


def test_the_reference_has_the_public_names(site):
    import rnnae_bench

    text = (site / "api.html").read_text(encoding="utf-8")
    internal = {"Card", "Protocol", "Variant", "Loss"}
    for name in set(dir(rnnae_bench)) - internal:
        assert re.search(rf'id="rnnae_bench\.[\w.]+\.{name}"', text), name


def test_on_a_phone_no_page_is_wider_than_the_screen(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport={"width": 390, "height": 800})
        asked, wrong = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        for path in sorted(site.rglob("*.html")):
            page.goto(path.as_uri(), wait_until="domcontentloaded")
            if (width := page.evaluate("document.documentElement.scrollWidth")) > 390:
                wrong.append(f"{path.name} is {width} wide")
        browser.close()
    assert not wrong
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
