"""The dates task: every text of every way against another parser, its parts, and its baselines by other means."""

from collections import Counter
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from dateutil import parser as dateutil_parser
from rnnae_tasks import dates
from rnnae_tasks.dates.datamodule import READ, WRITTEN, DatesTask, batch_of
from rnnae_tasks.dates.writing import FIRST, LAST, LONGEST, WAYS, read

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

VARIANTS = [*DatesTask.card().variants]
README = Path(dates.__file__).with_name("README.md").read_text("utf-8")


def spelled(places, symbols):
    return "".join(symbols[place] for place in places)


@pytest.mark.parametrize("text", [DatesTask.__doc__, README], ids=["docstring", "README"])
def test_the_drawn_row_is_one(text):
    day = date(1954, 3, 3)
    batch = batch_of([(day, WAYS["weekday_british"](day))])
    assert f"input    {spelled(batch.inputs[0, : batch.lengths[0]], READ)}\n" in text
    assert f"target   {spelled(batch.targets[0], WRITTEN)}\n" in text
    assert all(f"`{way(day)}`" in README for way in WAYS.values())


def test_no_text_means_two_dates():
    meaning = {}
    for day in map(date.fromordinal, range(FIRST, LAST + 1)):
        for way in WAYS.values():
            assert meaning.setdefault(way(day), day) == day
    assert len(meaning) == 436_100
    assert min(map(len, meaning)) == 8
    assert max(map(len, meaning)) == LONGEST
    assert set("".join(meaning)) <= set(READ)
    assert all(read(text) == day for text, day in meaning.items())


@pytest.mark.parametrize("way", WAYS)
def test_dates_are_written_as_another_parser_reads_them(way):
    """dateutil's, told which number comes first; of two digits of a year it knows a window of its own."""
    for ordinal in range(FIRST, LAST + 1, 397):
        day = date.fromordinal(ordinal)
        text, default = WAYS[way](day).removeprefix("the ").replace(" of ", " "), datetime(2000, 1, 1)
        found = dateutil_parser.parse(text, dayfirst=way == "dots", default=default).date()
        if way == "short_year":
            assert (found.day, found.month, found.year % 100) == (day.day, day.month, day.year % 100)
        else:
            assert found == day


def test_rows_are_what_was_written():
    task = DatesTask(evaluation_size=40, protocol=Protocol(batch_size=50))
    for batch in (task.train_batch(3), task.evaluation_set("test")):
        for places, target, length in zip(batch.inputs, batch.targets, batch.lengths.tolist(), strict=True):
            assert not places[length:].any()
            assert read(spelled(places[:length], READ)).isoformat() == spelled(target, WRITTEN)
        assert batch.target_lengths.tolist() == [10] * len(batch.targets)


def test_days_of_the_test_are_in_no_training_row():
    task = DatesTask()
    parts = [set(days.tolist()) for days in task.days.values()]
    assert sum(map(len, parts)) == len(set().union(*parts)) == LAST - FIRST + 1
    assert [len(part) for part in parts] == [2000, 2000, 32_525]
    drawn = {day.toordinal() for day, _ in task.written("train", 5000, task.generator("any"))}
    assert drawn <= set(task.days["train"].tolist())
    ways = Counter(len(text) for _, text in task.written("train", 5000, task.generator("any")))
    assert len(ways) > 15


def test_training_data_depend_on_step_and_data_seed_only():
    protocol = Protocol(batch_size=4)
    one, same, other = (DatesTask(protocol=protocol, data_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.train_batch(7).inputs, same.train_batch(7).inputs)
    assert not torch.equal(one.train_batch(7).inputs, one.train_batch(8).inputs)
    assert not torch.equal(one.train_batch(7).inputs, other.train_batch(7).inputs)
    assert torch.equal(one.evaluation_set("test").inputs, other.evaluation_set("test").inputs)


@pytest.mark.parametrize("variant", VARIANTS)
def test_baselines(variant, agrees):
    """Counted and compared as texts; n-grams by hand, weighted by numpy."""
    task = DatesTask.from_variant(variant)
    label, rows = f"dates:{variant}", task._evaluated("test")
    wanted = [day.isoformat() for day, _ in rows]

    def hold(name, answers, method):
        exact = sum(map(str.__eq__, answers, wanted)) / len(wanted)
        right = sum(
            one == other for pair in zip(answers, wanted, strict=True) for one, other in zip(*pair, strict=True)
        )
        agrees(label, name, "exact", exact, method)
        agrees(label, name, "character_accuracy", right / (10 * len(wanted)), method, within=1e-6)

    texts = [date.fromordinal(day).isoformat() for day in task.days["train"].tolist()]
    frequent = "".join(Counter(place).most_common(1)[0][0] for place in zip(*texts, strict=True))
    hold("frequent", [frequent] * len(wanted), "counted")
    hold("parser", [read(text).isoformat() for _, text in rows], "all texts have one meaning")
    if variant == "smoke":
        hold("nearest", nearest(task._remembered, [text for _, text in rows]), "cosines by numpy")


def nearest(examples, asked):
    def grams(text):
        return Counter(text[start : start + size] for size in (1, 2, 3) for start in range(len(text) - size + 1))

    known = [grams(text) for _, text in examples]
    columns = {gram: place for place, gram in enumerate(sorted(set().union(*known)))}
    frequency = np.zeros(len(columns))
    for one in known:
        frequency[[columns[gram] for gram in one]] += 1
    rarity = np.log((1 + len(known)) / (1 + frequency)) + 1

    def vectors(counts):
        found = np.zeros((len(counts), len(columns)), dtype=np.float32)
        for row, one in enumerate(counts):
            for gram, count in one.items():
                if gram in columns:
                    found[row, columns[gram]] = count * rarity[columns[gram]]
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    table = vectors(known)
    return [examples[place][0].isoformat() for place in (vectors([*map(grams, asked)]) @ table.T).argmax(1)]


def test_a_perfect_writer_scores_one_and_rows_add_up():
    task = DatesTask(evaluation_size=30)
    batch, metrics = task.evaluation_set("test"), task.metrics()
    answer = torch.nn.functional.one_hot(batch.targets, len(WRITTEN)) * 50.0
    answer[:3, 4] = 1.0
    update_metrics(metrics, answer, batch)
    found = metrics.compute()
    assert found["exact"] == pytest.approx(0.9)
    assert found["character_accuracy"] == pytest.approx(0.99)
    for metric in ("exact", "character_accuracy"):
        assert task.example_scores(metric, answer, batch).mean().item() == pytest.approx(found[metric].item())


@pytest.mark.parametrize("size", [0, -1, 9132, 10**9])
def test_bad_settings_are_refused_by_name(size):
    with pytest.raises(UserError, match=f"evaluation_size is {size}") as refusal:
        DatesTask(evaluation_size=size)
    assert "\n" not in str(refusal.value)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'oracle'; it has frequent, nearest, parser"):
        DatesTask(evaluation_size=2).baseline("oracle")
