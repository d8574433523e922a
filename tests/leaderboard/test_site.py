"""The static site: what is written, where, and from what."""

import base64
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnae_bench.cli.leaderboard import build as leaderboard_build
from rnnae_bench.errors import UserError
from rnnae_bench.leaderboard.site import downsampled as curves
from rnnae_bench.leaderboard.site.build import build
from rnnae_bench.leaderboard.site.folder import MARK, replaced
from rnnae_bench.leaderboard.site.pages import slug
from rnnae_bench.rankings.standing import standings
from rnnae_bench.records.document import record_from
from rnnae_bench.records.history import Series
from rnnae_bench.records.profile import decay_rate, effective_horizon
from rnnae_bench.records.store import Store

STEPS = np.arange(1, 301)
FLOW = "gradient_flow/last_step/recurrence.l0/h"


def histories(decay: float = -0.3) -> dict[str, Series]:
    places = np.array([1, 50, 300])
    profiles = np.outer([decay, decay / 2, decay / 3], np.arange(30)).astype(np.float32)
    return {
        "loss": Series(STEPS, np.geomspace(2, 0.1, 300)),
        "gradient_norm": Series(STEPS, np.geomspace(10, 0.1, 300)),
        "validation/recall_accuracy": Series(STEPS[49::50], np.linspace(0.2, 0.9, 6)),
        FLOW: Series(places, profiles),
    }


@pytest.fixture
def store(tmp_path, make_document):
    """Two models with five seeds, one of which diverged, and one model with two seeds."""
    store = Store(tmp_path / "records")
    for number, (model, seed) in enumerate(
        [(m, s) for m in ("gru", "lstm") for s in range(5)] + [("rnn", 0), ("rnn", 1)]
    ):
        identity = f"{number:016x}"
        record = make_document(
            {"gru": 0.99, "lstm": 0.6, "rnn": 0.3}[model] - 0.01 * seed, model=model, seed=seed, id=identity
        )
        if (model, seed) == ("lstm", 4):
            record |= {"status": "diverged", "failure": {"message": "the loss is nan", "step": 7, "traceback": "Trace"}}
            record["primary"] |= {"value": None, "score": None}
        store.write(record_from(record), histories())
    return store


def data_of(page: Path):
    """The JSON that a page gives to its scripts."""
    block = page.read_text().split('<script type="application/json" id="data">')[1].split("</script>")[0]
    return json.loads(block)


def test_a_site_has_a_page_for_everything(store, tmp_path):
    built = build(store, tmp_path / "site")
    names = {str(path.relative_to(built.out)) for path in built.out.rglob("*.html")}
    records = {f"records/{number:016x}.html" for number in range(12)}
    assert names == {
        "index.html",
        "tasks/copy.standard.html",
        *(f"models/{m}.html" for m in ("gru", "lstm", "rnn")),
        *records,
    }
    task = (built.out / "tasks" / "copy.standard.html").read_text()
    assert "not ranked: 2 of 5 seeds" in task
    assert "1 diverged" in task
    record = (built.out / "records" / f"{9:016x}.html").read_text()
    assert f"rnnae-bench reproduce {9:016x}" in record
    assert "the loss is nan (step 7)" in record


def test_skipped_trials_are_not_among_the_failed_and_a_score_of_zero_has_no_sign(tmp_path, make_document):
    store = Store(tmp_path / "records")
    failure = {"message": "x", "step": None, "traceback": None}
    for seed, status in enumerate(("ok", "skipped", "diverged", "interrupted")):
        record = make_document(0.3 if status == "ok" else None, seed=seed, id=f"{seed:016x}", status=status)
        record["failure"] = None if status == "ok" else failure
        record["primary"] |= {"direction": "minimize", "floor": 0.5, "ceiling": 0.0, "score": None}
        store.write(record_from(record), histories())
        if status == "diverged":
            store.write(record_from({**record, "model": "lstm", "id": f"{9:016x}"}), histories())
    out = build(store, tmp_path / "site").out
    (row,) = [line for line in (out / "index.html").read_text().splitlines() if 'data-sort="copy:standard"' in line]
    assert [cell.partition("<")[0] for cell in row.split('">')[4:7]] == ["2", "5", "2"]
    assert data_of(out / "tasks" / "copy.standard.html")["entries"][1]["score"][0] == 0
    for page in ("index.html", "tasks/copy.standard.html", "models/lstm.html"):
        assert ">-0" not in (out / page).read_text()
    assert "smallest difference" not in (out / "tasks" / "copy.standard.html").read_text()


def test_a_tasks_page_says_what_its_seeds_tell_apart(store, tmp_path):
    out = build(store, tmp_path / "site").out
    (standing,) = standings(store.read().records)
    said = f"Smallest difference that five seeds tell apart here: {standing.smallest:.2g} recall_accuracy"
    assert said in (out / "tasks" / "copy.standard.html").read_text()


def test_a_tasks_page_has_the_share_that_solved_from_step_0_to_the_budget(tmp_path, make_document):
    store = Store(tmp_path / "records")
    found = {"gru": (100, 100, 300, None, None), "lstm": (None,) * 5, "esn": (0,) * 5}
    for number, (model, seed) in enumerate((model, seed) for model in found for seed in range(5)):
        steps = found[model][seed]
        record = make_document(0.5 if steps is None else 1.0, model=model, seed=seed, id=f"{number:016x}")
        record["measures"] |= {"steps_to_solved": steps, "steps": 400}
        store.write(record_from(record), histories())
    page = build(store, tmp_path / "site").out / "tasks" / "copy.standard.html"
    assert "3/5 (.23–.88)" in page.read_text()
    curves = {entry["label"]: entry["solving"] for entry in data_of(page)["entries"]}
    drawn = {label: {name: unpacked(text) for name, text in curve.items()} for label, curve in curves.items()}
    assert drawn["gru"]["steps"].tolist() == [0, 100, 300, 400]
    assert drawn["gru"]["middle"] == pytest.approx([0, 0.4, 0.6, 0.6])
    # By the definition: survival 0.6 after two of five, Greenwood's variance 2 / (5 * 3).
    reach = 1.959964 * np.sqrt(2 / 15) / abs(np.log(0.6))
    assert drawn["gru"]["low"][1] == pytest.approx(1 - 0.6 ** np.exp(-reach), rel=1e-5)
    assert drawn["gru"]["high"][1] == pytest.approx(1 - 0.6 ** np.exp(reach), rel=1e-5)
    assert np.isnan(drawn["gru"]["low"]).tolist() == [True, False, False, False]
    assert (drawn["lstm"]["steps"].tolist(), drawn["lstm"]["middle"].tolist()) == ([0, 400], [0, 0])
    assert (drawn["esn"]["steps"].tolist(), drawn["esn"]["middle"].tolist()) == ([0], [1])


def test_a_tasks_page_has_its_baselines_among_the_models(store, tmp_path):
    page = (build(store, tmp_path / "site").out / "tasks" / "copy.standard.html").read_text()
    ranks = page.split('<table id="ranks"')[1].split("</table>")[0]
    rows = [row.split('data-sort="')[1].split('"')[0] for row in ranks.split("<tr ")[1:]]
    assert rows == ["gru", "lstm", "memoryless", "rnn"]
    (baseline,) = [row for row in ranks.split("<tr ") if row.startswith('class="baseline"')]
    assert "memoryless (floor)" in baseline
    # The failed trial of the lstm counts as the floor, which its interval then holds.
    assert ">(2–3)<" in baseline
    heads, cells = ranks.split("</thead>")[0].count('<th scope="col"'), baseline.count("<td") + baseline.count("<th")
    assert heads == cells


def test_every_link_leads_somewhere(store, tmp_path):
    out = build(store, tmp_path / "site").out
    for page in out.rglob("*.html"):
        for kind in ("href", "src"):
            for target in page.read_text().split(f' {kind}="')[1:]:
                address = target.split('"')[0].split("#")[0]
                assert not address or address == "data:," or (page.parent / address).is_file(), (page, address)


def test_the_same_records_give_the_same_bytes(store, tmp_path):
    sites = [build(store, tmp_path / name).out for name in ("one", "two")]
    one, two = ({str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()} for out in sites)
    assert one == two


def test_several_processes_give_the_same_bytes(store, tmp_path, monkeypatch):
    alone = build(store, tmp_path / "alone").out
    monkeypatch.setattr("rnnae_bench.leaderboard.site.build._WORTH_PROCESSES", 1)
    together = build(store, tmp_path / "together").out
    assert {p.name: p.read_bytes() for p in alone.rglob("*.html")} == {
        p.name: p.read_bytes() for p in together.rglob("*.html")
    }


def test_a_site_is_replaced_whole(store, tmp_path):
    out = build(store, tmp_path / "site").out
    (out / "stray.html").write_text("of an earlier build")
    build(store, out)
    assert not (out / "stray.html").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records", "site"]


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_is_no_site_is_never_overwritten(store, tmp_path, what):
    out = tmp_path / "mine"
    if what == "folder":
        out.mkdir()
    (out / "notes.txt" if what == "folder" else out).write_text("precious")
    with pytest.raises(UserError, match="--out"):
        build(store, out)
    assert "precious" in {path.read_text() for path in [out, *out.glob("*")] if path.is_file()}


def fail_while_replacing(out: Path) -> None:
    with replaced(out) as fresh:
        (fresh / "index.html").write_text("half")
        raise RuntimeError("half-way")


def test_a_build_that_fails_leaves_the_old_site(store, tmp_path):
    out = build(store, tmp_path / "site").out
    before = (out / "index.html").read_bytes()
    with pytest.raises(RuntimeError, match="half-way"):
        fail_while_replacing(out)
    assert (out / "index.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records", "site"]


def test_a_build_that_is_killed_leaves_the_old_site_and_the_next_one_clears_up(store, tmp_path):
    out = build(store, tmp_path / "site").out
    code = f"""
import sys, time
from pathlib import Path
from rnnae_bench.leaderboard.site.folder import replaced
with replaced(Path({str(out)!r})) as fresh:
    (fresh / "index.html").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(UserError, match="another build"):
            build(store, out)
        process.send_signal(signal.SIGKILL)
    assert "half" not in (out / "index.html").read_text()[:10]
    assert len(list(tmp_path.iterdir())) == 3
    build(store, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records", "site"]


def test_a_process_killed_between_the_renames_costs_nothing(store, tmp_path):
    out = build(store, tmp_path / "site").out
    out.rename(tmp_path / ".site.old")
    with pytest.raises(RuntimeError, match="half-way"):
        fail_while_replacing(out)
    assert (out / MARK).is_file()


def test_without_records_there_is_no_site(tmp_path):
    (tmp_path / "records").mkdir()
    with pytest.raises(UserError, match="no records"):
        build(Store(tmp_path / "records"), tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_the_command_says_what_it_made_and_what_it_left_out(store, tmp_path, capsys):
    arguments = [str(store.folder), "--out", str(tmp_path / "site"), "--json"]
    assert leaderboard_build.main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["records"] == 12
    assert Path(said["index"]).is_file()
    (store.folder / "torn.json").write_text("{")
    (store.folder / f"{0:016x}.parquet").write_bytes(b"torn")
    (store.folder / f"{1:016x}.parquet").unlink()
    assert leaderboard_build.main(arguments[:-1]) == 1
    errors = capsys.readouterr().err
    assert "torn.json is no record" in errors
    assert f"histories of record {0:016x}" in errors
    assert f"histories of record {1:016x}" in errors
    assert "can't be read" in (tmp_path / "site" / "records" / f"{0:016x}.html").read_text()


def test_the_pages_data_is_what_was_recorded(store, tmp_path):
    out = build(store, tmp_path / "site").out
    entries = data_of(out / "tasks" / "copy.standard.html")["entries"]
    assert [entry["key"] for entry in entries] == ["gru", "lstm", "rnn"]
    assert entries[0]["mean"][0] == pytest.approx(0.97)
    (state,) = entries[0]["states"]
    profile = histories()[FLOW].values[-1]
    assert state["final"]["decay_rate"] == pytest.approx(decay_rate(profile), rel=1e-3)
    assert state["horizon"] == [effective_horizon(one) for one in histories()[FLOW].values]
    data = data_of(out / "tasks" / "copy.standard.html")
    comparison = dict(zip(data["fields"], data["comparisons"][0], strict=True))
    assert comparison["verdict"] == "better"


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_a_trials_curve_hides_no_peak():
    values = np.ones(10_000)
    values[1234] = 77.0
    curve = curves.of_trial(Series(np.arange(1, 10_001), values))
    assert curve is not None
    assert len(unpacked(curve["steps"])) == curves.POINTS
    assert unpacked(curve["high"]).max() == 77
    assert unpacked(curve["middle"]).max() == 1


def test_a_rows_curve_is_the_median_and_range_over_seeds():
    steps = np.arange(1, 11)
    trials = [Series(steps[:stop], np.full(stop, value)) for stop, value in ((10, 1.0), (10, 5.0), (6, 2.0))]
    curve = curves.over_seeds([*trials, Series(steps, np.full(10, np.nan))])
    assert curve is not None
    np.testing.assert_array_equal(unpacked(curve["middle"]), [2] * 6 + [3] * 4)
    np.testing.assert_array_equal(unpacked(curve["low"]), [1] * 10)
    np.testing.assert_array_equal(unpacked(curve["high"]), [5] * 10)


def test_a_rows_curve_in_bins_agrees_with_numpy():
    random = np.random.default_rng(0)
    trials = [Series(np.arange(1, 1001), random.normal(size=1000)) for _ in range(3)]
    curve = curves.over_seeds(trials)
    assert curve is not None
    parts = np.array_split(np.arange(1000), curves.POINTS)
    table = np.array([[np.median(one.values[part]) for part in parts] for one in trials])
    np.testing.assert_allclose(unpacked(curve["middle"]), np.median(table, axis=0), rtol=1e-6)
    np.testing.assert_allclose(unpacked(curve["low"]), table.min(axis=0), rtol=1e-6)


def test_a_heatmap_gives_the_profiles_back_and_knows_what_was_not_measured():
    values = np.outer([-0.1, -0.2], np.arange(10)).astype(np.float32)
    values[0, 5:] = np.nan
    values[1, 9] = -np.inf
    drawn = curves.heatmap(Series(np.array([1, 2]), values))
    assert drawn is not None
    code = np.frombuffer(base64.b64decode(drawn["bytes"]), np.uint8).reshape(2, drawn["rows"])
    np.testing.assert_array_equal(code == 0, np.isnan(values))
    back = drawn["low"] + (code - 1.0) / 254 * (drawn["high"] - drawn["low"])
    known = np.isfinite(values)
    step = (drawn["high"] - drawn["low"]) / 254
    np.testing.assert_allclose(back[known], values[known], atol=0.6 * step + 1e-3)
    assert back[1, 9] == pytest.approx(-curves.DEPTH, abs=step)


def test_a_long_heatmap_is_made_of_means():
    values = np.broadcast_to(-np.arange(640) / 100, (200, 640)).astype(np.float32)
    drawn = curves.heatmap(Series(np.arange(1, 201), values))
    assert drawn is not None
    assert (len(drawn["steps"]), drawn["rows"], drawn["lags"]) == (curves.PROFILES, curves.LAGS, 640)
    assert drawn["high"] == pytest.approx(-0.045)
    assert drawn["steps"][-1] == 200


def test_mean_profiles_are_over_the_trials_that_measured():
    one = Series(np.array([1, 2]), np.array([[0.0, -2.0], [0.0, -4.0]], np.float32))
    two = Series(np.array([1]), np.array([[0.0, -4.0, -6.0]], np.float32))
    mean = curves.mean_profiles([one, two])
    np.testing.assert_array_equal(mean.steps, [1, 2])
    np.testing.assert_array_equal(mean.values, [[0, -3, -6], [0, -4, np.nan]])


def test_names_of_files_are_safe_and_differ():
    names = [
        "copy:standard",
        "copy.standard",
        "Copy:standard",
        "../../etc/passwd",
        "",
        "con",
        "a" * 300,
        "a" * 301,
        "é",
        "\ud800",
    ]
    made = [slug(name) for name in names]
    assert len(set(made)) == len(names)
    for name in made:
        assert "/" not in name
        assert len(name) < 140
        assert name.strip(".")
