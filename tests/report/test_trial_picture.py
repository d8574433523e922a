"""Pictures of one trial, and the page that shows them."""

from io import BytesIO

import numpy as np
from matplotlib.image import imread

from rnnae_bench.records.history import Series
from rnnae_bench.records.store import Store
from rnnae_bench.report.page import page
from rnnae_bench.report.trial_picture import picture, terminal_picture, title

STEPS = np.arange(1, 200)
CURVES = {"loss": Series(STEPS, np.geomspace(2, 0.1, 199)), "gradient_norm": Series(STEPS, np.geomspace(10, 0.1, 199))}
PROFILES = Series(np.array([1, 50, 199]), np.outer([-0.4, -0.2, 0.01], np.arange(60)).astype(np.float32))


def flows(count: int) -> dict[str, Series]:
    return {f"gradient_flow/last_step/recurrence.l{layer}/h": PROFILES for layer in range(count)}


def test_the_picture_grows_by_a_row_a_state(make_record):
    heights = [imread(BytesIO(picture(make_record(), {**CURVES, **flows(count)}))).shape[0] for count in (0, 1, 2)]
    assert heights[0] == 780  # 6.5 inches, as without profiles
    assert heights[0] < heights[1] < heights[2]


def test_the_picture_of_a_trial_that_measured_nothing_else_is_drawn(make_record):
    assert picture(make_record(), flows(1)).startswith(b"\x89PNG")


def test_the_title_names_what_was_changed(make_record):
    assert title(make_record()) == "gru on copy:standard, seed 0"
    overrides = {"task.delay": 5, "model.optimization.clip": 0.5, "trainer.precision": "bf16-mixed"}
    changed = make_record(None, status="timeout", overrides=overrides, data_seed=3)
    shown = "gru[clip=0.5] on copy:standard[delay=5], seed 0, data seed 3, precision=bf16-mixed (timeout)"
    assert title(changed) == shown


def test_the_terminal_picture_does_not_mind_profiles():
    assert terminal_picture({**CURVES, **flows(1)}) == terminal_picture(CURVES)
    assert terminal_picture(flows(1)) == ""


def test_the_page_shows_a_trial_with_profiles(tmp_path, make_record):
    store = Store(tmp_path)
    store.write(make_record(), {**CURVES, **flows(2)})
    records = store.read().records
    shown = page(records, records, store.series, store.samples)
    assert shown.count("data:image/png;base64,") == 1
