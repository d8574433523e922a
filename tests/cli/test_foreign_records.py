"""One bad record is left out with its reason, by every command that reads records, and the good ones are shown."""

import pytest

from rnnae_bench.cli import main
from rnnae_bench.records.store import Store

BAD = {
    "digits": (b'{"a": ' + b"9" * 400 + b"}", "more than 308 digits"),
    "half": (rb'{"a": "\ud800"}', "half a character"),
    "deep": (b"[" * 100_000, "nested too deep"),
    "latin": (b'{"a": "\xe9"}', "can't decode byte"),
}

HUGE = 10**300

COMMANDS = [
    ["results", "{}"],
    ["results", "{}", "--csv"],
    ["results", "{}", "--json"],
    ["compare", "gru", "lstm", "--from", "{}"],
    ["leaderboard", "show", "{}"],
    ["leaderboard", "build", "{}", "--out", "{}/../site"],
    ["query", "select model from trials", "--from", "{}"],
    ["sweep", "--task", "copy:smoke", "--model", "gru", "--collect", "--out", "{}"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_document, make_record):
    """Good records of two models, records with numbers at the end of what a float holds, and files that are none."""
    store = Store(tmp_path_factory.mktemp("foreign") / "runs")
    for seed in range(3):
        for model in ("gru", "lstm"):
            store.write(make_record(0.5 + seed / 10, model=model, seed=seed, id=f"{seed:08x}{len(model):08x}"), {})
    measures = {**make_document()["measures"], "steps": HUGE, "parameters": HUGE, "training_seconds": HUGE}
    store.write(make_record(1e308, seed=HUGE, data_seed=HUGE, measures=measures, id="a" * 16), {})
    primary = {**make_document()["primary"], "value": HUGE, "floor": -1e308, "ceiling": 1e308, "score": HUGE}
    store.write(make_record(model="lstm", seed=9, id="b" * 16, primary=primary), {})
    for name, (content, _) in BAD.items():
        (store.folder / f"{name}.json").write_bytes(content)
    return str(store.folder)


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # of numbers near the largest float
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_bad_records_are_left_out_with_their_reason(folder, capsys, command):
    assert main([word.format(folder) for word in command]) == (1 if "build" in command else 0)
    said = capsys.readouterr()
    assert "gru" in said.out or "8 records" in said.out
    for name, (_, reason) in BAD.items():
        (line,) = (line for line in said.err.splitlines() if f"{name}.json is no record" in line)
        assert reason in line
