"""The front door: what reads and compares records, and what the package says of itself."""

import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import rnnae_bench
from rnnae_bench.errors import UserError
from rnnae_bench.records.store import Store


@pytest.fixture
def runs(tmp_path, make_record):
    """A folder with five seeds of two models, the second better."""
    store = Store(tmp_path / "runs")
    for place, model in enumerate(("gru", "lstm")):
        for seed in range(5):
            identity = f"{place}{seed}".rjust(16, "0")
            store.write(
                make_record(0.5 + 0.3 * place + 0.01 * seed, id=identity, model=model, seed=seed, overrides={}), {}
            )
    return store.folder


def test_help_names_the_front_door_and_fits_a_screen():
    lines = pydoc.plain(pydoc.render_doc(rnnae_bench)).rstrip().splitlines()
    assert len(lines) <= 50
    first_screen = "\n".join(lines[:20])
    for name in ("run", "sweep", "load", "compare", "standings", "probe"):
        assert f"\n    {name}(" in first_screen
        assert callable(getattr(rnnae_bench, name))
    assert max(map(len, lines[:20])) <= 80


def test_no_room_takes_the_name_of_a_public_name():
    rooms = {path.stem for path in Path(rnnae_bench.__file__).parent.iterdir()}
    assert not rooms & set(dir(rnnae_bench))


def test_reading_imports_no_torch(runs):
    code = (
        f"import sys, rnnae_bench; found = rnnae_bench.load({str(runs)!r}); print(found, rnnae_bench.standings(found));"
        "rnnae_bench.compare(found[:5], found[5:]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_loaded_records_are_results(runs):
    found = rnnae_bench.load(runs)
    assert len(found) == 10
    assert [one.record.model for one in found[4:6]] == ["gru", "lstm"]
    assert repr(found).splitlines()[0].startswith("lstm on copy:standard, 5 seeds: recall_accuracy 0.82 ± 0.016")
    assert len(rnnae_bench.load(runs, model="lstm")) == 5
    one = rnnae_bench.load(runs / f"{found[0].record.id}.json")
    assert one.record == found[0].record
    (runs / "broken.json").write_text("{")
    with pytest.warns(UserWarning, match=r"broken\.json is no record, left out"):
        assert len(rnnae_bench.load(runs)) == 10
    with pytest.raises(UserError, match=r"broken\.json can't be read as a record"):
        rnnae_bench.load(runs / "broken.json")
    with pytest.raises(UserError, match="has no record of sine; task variants there: copy:standard"), pytest.warns():
        rnnae_bench.load(runs, task="sine")


def test_what_a_record_says_is_text_in_a_notebook(tmp_path, make_record):
    store = Store(tmp_path)
    store.write(make_record(overrides={"model.name": "<script>alert(1)</script>"}), {})
    found = rnnae_bench.load(tmp_path)
    assert "<script" not in found._repr_html_()
    assert "&lt;script&gt;" in found._repr_html_()
    assert "&lt;script&gt;" in rnnae_bench.standings(found)._repr_html_()


def test_two_models_are_compared_by_name_and_by_results(runs, monkeypatch):
    by_name = rnnae_bench.compare("lstm", "gru", source=runs)
    assert repr(by_name).startswith("lstm is better than gru on copy:standard: recall_accuracy +0.3")
    found = rnnae_bench.load(runs)
    by_results = rnnae_bench.compare(found[5:], found[:5])
    assert by_results.contrasts[0].comparison == by_name.contrasts[0].comparison
    frame = by_results.frame()
    assert frame.loc[0, "verdict"] == "better"
    assert frame.loc[0, "difference"] == pytest.approx(0.3)
    assert "lstm is better than gru" in by_results._repr_html_()
    with pytest.raises(UserError, match="give two names, folders or results"):
        rnnae_bench.compare(found, "gru")


def test_standings_are_a_table(runs):
    found = rnnae_bench.standings(runs)
    assert list(found.frame()["model"]) == ["lstm", "gru"]
    assert list(found.frame()["best_rank"]) == [1, 2]
    assert "copy:standard: recall_accuracy, higher is better" in repr(found)
    with pytest.raises(UserError, match="give 2 or more"):
        rnnae_bench.standings(runs, minimum_seeds=1)


def test_a_sweeps_options_are_checked_before_any_work():
    with pytest.raises(UserError, match=r"'executor' is .rai.; it must be 'local' or 'ray'"):
        rnnae_bench.sweep("copy:smoke", "gru", executor="rai")
    with pytest.raises(UserError, match="hidden_size is given in there and beside it"):
        rnnae_bench.sweep("copy:smoke", "gru[hidden_size=3]", hidden_size=[1, 2])


def test_what_results_shows_can_be_asked_for_here_too(runs, make_record):
    store, of_gru = Store(runs), rnnae_bench.load(runs).where(model="gru", status=["ok"], task="copy:standard")
    assert [one.record.seed for one in of_gru] == [0, 1, 2, 3, 4]
    assert not rnnae_bench.load(runs).where(status="failed")
    assert not rnnae_bench.load(runs, superseded=True)
    first = of_gru[0].record
    store.write(make_record(0.9, id=first.id, seed=0, finished="2030-01-01T00:00:00Z"), {})
    (replaced,) = rnnae_bench.load(runs, superseded=True)
    assert replaced.record.primary.value == first.primary.value
    assert replaced.path.is_file()
    assert "gru" in of_gru.page(among=rnnae_bench.load(runs))
    assert of_gru.equivalences() == []
