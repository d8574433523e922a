"""The committed leaderboards: their records are records, made by the frozen protocol, and the page is in step."""

from pathlib import Path

import pytest

from rnnae_bench.leaderboard import readme, submission
from rnnae_bench.plugins.registry import tasks
from rnnae_bench.rankings.standing import standings
from rnnae_bench.records.store import Store
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.verify import objections

FOLDER = Path(__file__).parents[1] / "leaderboards"
STORE = Store(FOLDER / "records")


@pytest.fixture(scope="module")
def records():
    found = STORE.read()
    assert not found.unreadable
    assert found.records
    return found.records


def test_the_page_is_in_step_with_the_records(records):
    assert readme.is_in_step(STORE.folder, records), "run rnnae-bench leaderboard validate --write"
    assert not readme.is_in_step(STORE.folder, records[1:])


def test_every_record_is_one_that_a_leaderboard_takes():
    seen = set()

    def once_a_row(record):
        # 'leaderboard validate' asks of every record, which takes a second for each of the larger ones.
        row = record.task, record.variant, record.model
        return ([], []) if row in seen or seen.add(row) else objections(record)

    assert [one.reasons for one in submission.inspect(STORE.folder, once_a_row).refused] == []
    assert seen


def test_every_record_followed_the_frozen_protocol(records):
    for record in records:
        assert record.overrides == {}
        variant = tasks().get(record.task).load().card().variant(record.variant)
        assert record.configuration.task == {
            **record.configuration.task,
            **variant.data,
            "protocol": vars(variant.protocol),
        }
        assert record.environment.git.dirty is False
        assert record.seed < 1000, "seeds from 1000 up are for tuning"


def test_a_run_by_default_is_of_the_same_row(records):
    """Options that came to a model later change nothing where they have their default (`later_options`)."""
    rows = {(record.task, record.variant, record.model): record for record in records}
    for (task, variant, model), record in rows.items():
        pair = Pair(f"{task}:{variant}", model)
        assert Trial(pair, pair.resolve({}), record.seed, record.data_seed).identity == record.id


def test_every_record_has_its_histories(records):
    for record in records:
        series = STORE.series(record)
        assert list(series) == record.history.columns[1:]
        assert len(series["gradient_norm"].steps) == record.measures.steps


def test_every_built_in_model_has_five_seeds_on_each_task_that_it_supports(records):
    assert {(standing.setting, entry.row.model) for standing in standings(records) for entry in standing.entries} == {
        *(
            (f"{task}:standard", model)
            for task in ("copy", "denoise", "names", "sine")
            for model in ("gru", "lstm", "rnn")
        ),
        *(("denoise:standard", model) for model in ("conv_ae", "dense_ae")),
    }
    for standing in standings(records):
        assert all(list(entry.values) == [0, 1, 2, 3, 4] and entry.ranks for entry in standing.entries)


def test_what_the_readme_says_of_them_holds(records):
    found = {standing.task: standing for standing in standings(records)}
    solved = {(task, entry.row.model): entry.row.solved for task, one in found.items() for entry in one.entries}
    assert [solved["copy", model] for model in ("gru", "lstm", "rnn")] == [3, 0, 0]
    assert found["copy"].entries[0].ranks == (1, 1)
    best = max(entry.mean.value for entry in found["names"].entries)
    assert best < found["names"].baselines["ngram"]


def test_the_readme_quotes_the_committed_numbers(records):
    shown = " ".join((FOLDER.parent / "README.md").read_text().replace("*", "").split())
    (copy,) = (one for one in standings(records) if one.setting == "copy:standard")
    means = {entry.row.model: f"{entry.mean.value:.2f}" for entry in copy.entries}
    assert f"The GRU recalls {means['gru']} of the symbols, the RNN {means['rnn']}." in shown
