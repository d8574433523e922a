"""The static site in Chromium, opened from disk: interactions, hostile records, accessibility."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rnnae_bench.leaderboard.site.build import build
from rnnae_bench.records.document import record_from
from rnnae_bench.records.history import Series
from rnnae_bench.records.store import Store
from rnnae_bench.statistics.estimates import Estimate

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("there is no chromium on this machine", allow_module_level=True)

AXE = Path(__file__).parent / "axe" / "axe-4.14.1.min.js"
STEPS = np.arange(1, 301)
SKILLS = {"gru": 0.99, "lstm": 0.7, "rnn": 0.3}
HOSTILE = "</script><img src=x onerror=alert(1)><a href='javascript:alert(2)'>\"'{{7*7}}\u2028"
PAGES = (
    "index.html",
    "tasks/copy.standard.html",
    "models/gru.html",
    f"records/{0:016x}.html",
    f"records/{14:016x}.html",
)


def histories(skill: float, layer: str = "recurrence.l0", extra: str = "sequence_accuracy") -> dict[str, Series]:
    places = np.array([1, 10, 50, 100, 300])
    profiles = np.outer(-(1 - skill) - 0.3 / np.arange(1, 6), np.arange(40)).astype(np.float32)
    noise = np.random.default_rng(0).lognormal(0, 0.2, 300)
    return {
        "loss": Series(STEPS, 2 * np.exp(-skill * STEPS / 100) * noise),
        "gradient_norm": Series(STEPS, np.exp(-skill * STEPS / 50) * noise),
        f"gradient_norm/{layer}": Series(STEPS, np.exp(-skill * STEPS / 60) * noise),
        "validation/recall_accuracy": Series(STEPS[29::30], np.linspace(0.125, skill, 10)),
        f"validation/{extra}": Series(STEPS[29::30], np.linspace(0, skill, 10)),
        f"gradient_flow/last_step/{layer}/h": Series(places, profiles),
    }


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


_BUILT: dict[str, Path] = {}


@pytest.fixture
def site(tmp_path_factory, make_document):
    """Three models with five seeds on one task; the last trial diverged. Built once, and read only."""
    if "site" not in _BUILT:
        folder = tmp_path_factory.mktemp("site")
        store = Store(folder / "records")
        for number, (model, seed) in enumerate((model, seed) for model in SKILLS for seed in range(5)):
            record = make_document(SKILLS[model] - 0.01 * seed, model=model, seed=seed, id=f"{number:016x}")
            record["measures"] |= {"parameters": 1000 * len(model) + number}
            record["configuration"]["model"] = {"hidden_size": 8, "optimization": {"clip": None}}
            if number == 14:
                failure = {"message": "the loss is nan", "step": 7, "traceback": "Trace"}
                record |= {"status": "diverged", "failure": failure}
                record["primary"] |= {"value": None, "score": None}
            store.write(record_from(record), histories(SKILLS[model]))
        _BUILT["site"] = build(store, folder / "site").out
    return _BUILT["site"]


@pytest.fixture
def opened(browser):
    """A function that opens a page; at the end, whatever went wrong on it fails the test."""
    wrong: list[str] = []
    contexts = []

    def open_page(address: str, **options):
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda one: None if one.url.startswith(("file:", "data:")) else wrong.append(one.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def order(page) -> list[str]:
    return page.locator("#ranks tbody tr:not([hidden]) th a").all_inner_texts()


@pytest.mark.parametrize(
    "one",
    [
        Estimate(0.99897, 0.99511, 1.0),
        Estimate(0.5, None, None),
        Estimate(-0.000096, -0.000153, -0.00004),
        Estimate(-0.00004, -0.02, 0.02),
        Estimate(1234.25, 1000.0, 1500.0),
        Estimate(0.5, 0.5, 0.5),
    ],
)
def test_scripts_write_estimates_as_tables_do(site, opened, one):
    page = opened((site / "tasks" / "copy.standard.html").as_uri())
    assert page.evaluate("one => window.rnnae.interval(one)", [one.value, one.low, one.high]) == one.text()


def test_a_band_on_a_logarithmic_axis_reaches_its_smallest_seed(tmp_path, make_document, opened):
    """Three seeds with gradient norms of 1, 0.1 and 1e-6: the axis has all of them, and the band ends at its foot."""
    store = Store(tmp_path / "records")
    for seed, norm in enumerate((1.0, 0.1, 1e-6)):
        series = {"gradient_norm": Series(STEPS, np.full(300, norm)), "loss": Series(STEPS, np.ones(300))}
        store.write(record_from(make_document(0.5, seed=seed, id=f"{seed:016x}")), series)
    page = opened((build(store, tmp_path / "site").out / "tasks" / "copy.standard.html").as_uri())
    ticks = page.locator('#norm [aria-label="y-axis tick label"] text').all_text_contents()
    assert {"1e-6", "1e-1", "1e+0"} <= set(ticks)
    foot, height = page.evaluate(
        """() => {
            const band = document.querySelector('#norm [aria-label="area"] path').getBBox();
            const frame = document.querySelector('#norm [aria-label="y-axis tick"]').getBBox();
            return [band.y + band.height, frame.y + frame.height];
        }"""
    )
    assert foot == pytest.approx(height, abs=1)


def test_every_kind_of_page_draws_its_charts(site, opened):
    page = opened((site / "index.html").as_uri())
    assert page.locator("#overall svg, #profiles svg").count() == 2
    page.goto((site / "tasks" / "copy.standard.html").as_uri())
    for chart in ("learning", "solving", "cost", "norm"):
        assert page.locator(f"#{chart} svg path").count() > 3
    assert page.locator("#pair .state svg image").count() == 2
    page.goto((site / "records" / f"{0:016x}.html").as_uri())
    for chart in ("loss", "looks", "norms"):
        assert page.locator(f"#{chart} svg path").count() > 1
    assert page.locator("#states .state svg image").count() == 1


def test_sorting_is_in_the_address_and_said_to_screen_readers(site, opened):
    page = opened((site / "tasks" / "copy.standard.html").as_uri())
    assert order(page) == ["gru", "lstm", "rnn"]
    head = page.locator("#ranks th[data-key=model]")
    assert head.get_attribute("aria-sort") is None
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert order(page) == ["rnn", "lstm", "gru"]
    assert "sort.ranks=model.descending" in page.url
    page.reload()
    assert order(page) == ["rnn", "lstm", "gru"]
    page.locator("#ranks th[data-key=parameters] button").click()
    assert order(page) == ["gru", "rnn", "lstm"]
    page.evaluate("location.hash = '#sort.ranks=nothing.sideways&show=-&a=nobody&cost=life'")
    page.wait_for_function("document.querySelector('#ranks [aria-sort]') === null")
    assert order(page) == ["gru", "lstm", "rnn"]


def test_filtering_is_in_the_address_and_counted(site, opened):
    page = opened((site / "tasks" / "copy.standard.html").as_uri())
    page.get_by_label("Filter trials").fill("rnn diverged")
    shown = page.locator("#trials tbody tr:not([hidden])")
    assert shown.count() == 1
    assert page.locator("[data-count=trials]").inner_text() == "1 of 15 rows"
    page.reload()
    assert shown.count() == 1


def test_rows_are_chosen_for_the_charts_and_the_matrix(site, opened):
    page = opened((site / "tasks" / "copy.standard.html").as_uri())
    assert page.locator("#matrix thead th").all_inner_texts() == ["gru", "lstm", "rnn"]
    assert page.locator("#matrix tbody tr").first.locator("td").nth(1).inner_text().startswith("better")
    assert page.locator("#matrix tbody tr").nth(1).locator("td").first.inner_text().startswith("worse")
    page.get_by_label("Draw lstm").uncheck()
    assert page.locator("#learning .legend li").all_inner_texts() == ["gru", "rnn"]
    assert page.locator("#matrix thead th").count() == 2
    page.reload()
    assert page.locator("#learning .legend li").all_inner_texts() == ["gru", "rnn"]


def test_any_two_rows_stand_side_by_side_on_one_scale(site, opened):
    page = opened((site / "tasks" / "copy.standard.html").as_uri())
    page.locator("select[data-state=a]").select_option("lstm")
    page.locator("select[data-state=scale]").select_option("absolute")
    assert page.locator("#pair h4").all_inner_texts()[0].startswith("lstm")
    assert page.locator("#pair .scale").count() == 1
    assert "a=lstm" in page.url
    assert "scale=absolute" in page.url
    page.reload()
    assert page.locator("#pair h4").all_inner_texts()[0].startswith("lstm")
    assert page.locator("select[data-state=scale]").input_value() == "absolute"
    horizons = page.locator("#pair tr:has-text('effective horizon') td:last-child").all_inner_texts()
    assert int(horizons[0]) > int(horizons[1]), "the better model's gradient reaches further"


def test_the_colour_scheme_is_switched_and_remembered(site, opened):
    page = opened((site / "index.html").as_uri(), color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate(background) != light
    page.goto((site / "models" / "gru.html").as_uri())
    assert page.evaluate(background) != light
    page.get_by_role("button", name="Light colours").click()
    assert page.evaluate(background) == light


def test_the_keyboard_reaches_the_content_and_the_focus_is_seen(site, opened):
    page = opened((site / "tasks" / "copy.standard.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_phone_shows_every_page_without_scrolling_sideways(site, opened):
    page = opened((site / PAGES[0]).as_uri(), viewport={"width": 390, "height": 844})
    for name in PAGES:
        page.goto((site / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious_in_either_scheme(site, opened, name):
    page = opened((site / name).as_uri(), color_scheme="light", reduced_motion="reduce")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({ resultTypes: ['violations'], preload: false })")
    assert len(found["passes"]) > 15
    page.emulate_media(color_scheme="dark")
    # What else it looks at does not depend on colours.
    dark = page.evaluate("axe.run({ runOnly: ['color-contrast'], preload: false })")
    assert len(dark["passes"]) == 1
    serious = [
        (one["id"], [node["html"][:200] for node in one["nodes"]][:3])
        for one in found["violations"] + dark["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_a_hostile_record_is_text(tmp_path, make_document, opened):
    store = Store(tmp_path / "records")
    for seed in range(5):
        record = make_document(0.5, seed=seed, id=f"{seed:016x}", task=HOSTILE, variant=HOSTILE, model=HOSTILE)
        record["overrides"] = {f"model.{HOSTILE}": HOSTILE, "task.x": HOSTILE}
        record["configuration"] = {part: {HOSTILE: {HOSTILE: HOSTILE}} for part in ("task", "model", "trainer")}
        record["primary"] |= {"metric": HOSTILE, "floor_baseline": HOSTILE}
        record["metrics"] = {"test": {HOSTILE: 0.5}, "validation": {HOSTILE: 0.5}}
        record["baselines"] = {HOSTILE: {HOSTILE: 0.1}}
        record["measures"][HOSTILE] = HOSTILE
        record["fingerprints"] = dict.fromkeys(("train", "validation", "test", HOSTILE), HOSTILE)
        environment = record["environment"]
        environment |= dict.fromkeys(("device", "accelerator", "precision"), HOSTILE)
        environment["host"] |= {"processor": HOSTILE, "system": HOSTILE}
        environment["versions"] = environment["plugins"] = {HOSTILE: HOSTILE}
        environment["git"] = {"commit": HOSTILE, "dirty": True}
        record["command"] = [HOSTILE]
        if seed == 4:
            record |= {"status": "error", "failure": {"message": HOSTILE, "step": 1, "traceback": HOSTILE}}
        series = histories(0.5, layer=HOSTILE.replace("/", ""), extra=HOSTILE)
        store.write(record_from(record), series)
    out = build(store, tmp_path / "site").out
    pages = sorted(out.rglob("*.html"))
    assert len(pages) == 8
    opened_page = opened(pages[0].as_uri())
    for path in pages:
        assert path.parent.parent == out or path.parent == out
        text = path.read_text()
        assert "<img" not in text
        if 'id="data">' in text:
            assert "\u2028" not in text.split('id="data">')[1]
        opened_page.goto(path.as_uri())
        opened_page.locator("footer").wait_for()
        assert opened_page.locator("img, iframe, a[href^='javascript:'], [onerror]").count() == 0
        scripts = opened_page.locator("script:not([src]):not([type='application/json'])").count()
        assert scripts == 0
        assert "onerror=alert(1)" in opened_page.locator("main").inner_text()


def test_a_script_that_got_into_a_page_would_not_run(site, browser):
    page = browser.new_page()
    page.goto((site / "index.html").as_uri())
    refused = page.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
        })"""
    )
    assert refused == "script-src-elem"
    assert page.evaluate("window.ran") is None
    page.close()
