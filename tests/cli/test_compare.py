"""``rnnae-bench compare`` over records on disk."""

import json
import shutil

import numpy as np
import pytest
from rnnae_tasks.names.datamodule import NamesTask
from scipy import stats
from statsmodels.duration.survfunc import survdiff

import rnnae_bench
from rnnae_bench.cli import compare
from rnnae_bench.errors import UserError
from rnnae_bench.rankings.standing import standings
from rnnae_bench.records.document import record_from
from rnnae_bench.records.history import Series
from rnnae_bench.records.store import Store
from rnnae_bench.report import standing_tables

GRU, LSTM = [0.98, 0.97, 0.99, 0.98, 0.96], [0.52, 0.47, 0.55, 0.41, 0.5]


@pytest.fixture
def folder(tmp_path, make_document, make_record):
    store, number = Store(tmp_path / "runs"), 0
    for model, values, size in (("gru", GRU, None), ("lstm", LSTM, None), ("gru", [0.97] * 3 + [0.99, 0.97], 64)):
        for seed, value in enumerate(values):
            record = make_document(value, model=model, seed=seed, id=f"{number:016x}")
            record["configuration"]["model"] = {"hidden_size": size or 128}
            record["overrides"] = {} if size is None else {"model.hidden_size": size}
            record["measures"] |= {"training_seconds": 4.0 if model == "lstm" else 2.0}
            store.write(record_from(record), {})
            number += 1
    store.write(make_record(0.4, model="lstm", task="sine", id="f" * 16), {})
    return store.folder


def run(capsys, *arguments):
    assert compare.main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_verdict_is_a_sentence_with_what_it_rests_on(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = run(capsys, "gru", "lstm", "--task", "copy", "--from", folder)
    assert said.startswith("gru is better than lstm on copy:standard: recall_accuracy +0.486 [")
    assert "5 shared seeds, p = 0.002" in said
    assert "x 0.5" in said
    assert "among all pairs of the 3 ranked rows of copy:standard" in said
    opposite = run(capsys, "lstm", "gru", "--from", folder)
    assert opposite.startswith("lstm is worse than gru on copy:standard: recall_accuracy -0.486 [")


def test_as_json_the_numbers_are_scipys(folder, capsys):
    (found,) = json.loads(run(capsys, "gru", "lstm", "--from", folder, "--json"))
    expected = stats.ttest_rel(GRU, LSTM)
    assert found["comparison"]["p"] == pytest.approx(max(expected.pvalue, 2 / 4**5))
    assert found["among"] == {"rows": 3, "corrected": pytest.approx(2 / 4**5), "verdict": "better"}
    interval = expected.confidence_interval(0.95)
    assert found["comparison"]["difference"]["low"] == pytest.approx(interval.low)
    assert found["comparison"]["superiority"]["value"] == 1.0
    assert found["costs"]["training_seconds"] == {"first": 2.0, "second": 4.0, "ratio": 0.5}
    assert found["first"]["mean"]["value"] == pytest.approx(np.mean(GRU))
    assert found["configuration"] == {"model": {"first": "gru", "second": "lstm"}}


def test_how_often_and_how_soon_a_task_is_solved_is_told_apart(tmp_path, make_document, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    store = Store(tmp_path / "runs")
    for number, (model, steps) in enumerate([("gru", n) for n in (200, 300, 400, None, None)] + [("rnn", None)] * 5):
        value = 0.5 if steps is None else 1.0
        record = make_document(value, model=model, seed=number % 5, id=f"{number:016x}")
        record["measures"] |= {"steps_to_solved": steps, "steps": 1000}
        store.write(record_from(record), {})
    said = run(capsys, "gru", "rnn", "--from", store.folder)
    (line,) = [line for line in said.splitlines() if line.split()[:1] == ["solved"] and "/" in line]
    assert [word for word in line.split() if "/" in word or "(" in word] == ["3/5", "(.23-.88)", "0/5", "(0-.43)"]
    p = stats.fisher_exact([[3, 2], [0, 5]]).pvalue
    assert f"solved as often: p = {p:.2g} (Fisher's exact test), about 6 more seeds each would probably" in said
    (found,) = json.loads(run(capsys, "gru", "rnn", "--from", store.folder, "--json"))
    _, log_rank = survdiff(np.array([200, 300, 400] + [1000] * 7), np.array([1] * 3 + [0] * 7), np.repeat([0, 1], 5))
    assert found["solving"]["p"] == pytest.approx(p)
    assert found["solving"]["log_rank"] == pytest.approx(log_rank)
    assert found["solving"]["more_seeds"] == 6
    assert found["first"]["solve_probability"]["value"] == found["solving"]["difference"]["value"] == 0.6
    assert found["first"]["solving"]["times"] == [200, 300, 400]
    assert found["costs"]["steps_to_solve"] == {"first": 400, "second": None, "ratio": None}
    (beside,) = json.loads(run(capsys, "gru", "memoryless", "--from", store.folder, "--json"))
    assert beside["solving"] is beside["second"]["solving"] is beside["second"]["solve_probability"] is None
    assert "as often" not in run(capsys, "gru", "memoryless", "--from", store.folder)


@pytest.mark.parametrize(
    ("sizes", "tuned", "said"),
    [
        ((1000, 1100), (True, True), ""),
        ((1000, 1101), (None, True), "gru has 1,000 parameters and lstm 1,101"),
        ((5000, 40), (False, False), "gru has 5,000 parameters and lstm 40"),
        ((None, 40), (True, None), ""),
        ((0, 0), (True, False), "only gru was tuned on this task"),
        ((0, 7), (False, True), "gru has 0 parameters and lstm 7; and only lstm was tuned on this task"),
    ],
)
def test_the_verdict_says_where_the_two_were_not_on_equal_terms(
    tmp_path, make_document, capsys, monkeypatch, sizes, tuned, said
):
    monkeypatch.setenv("COLUMNS", "400")
    store = Store(tmp_path / "uneven")
    for number, value in enumerate([*GRU, *LSTM]):
        place, seed = divmod(number, 5)
        record = make_document(value, model=("gru", "lstm")[place], seed=seed, id=f"{number:016x}")
        record["measures"]["parameters"] = sizes[place]
        record |= {"schema": 2} | ({} if tuned[place] is None else {"tuned": tuned[place]})
        store.write(record_from(record), {})
    (found,) = json.loads(run(capsys, "gru", "lstm", "--from", store.folder, "--json"))
    ending = f"; not on equal terms: {said}" if said else ""
    assert found["sentence"].endswith(f", 5 shared seeds, p = 0.002{ending}")
    assert "; and ".join(found["unequal"]) == said
    assert run(capsys, "gru", "lstm", "--from", store.folder).splitlines()[0] == found["sentence"]
    assert repr(rnnae_bench.compare("gru", "lstm", source=store.folder)) == found["sentence"]
    baseline = run(capsys, "gru", "memoryless", "--from", store.folder).splitlines()[0]
    assert "equal terms" not in baseline
    table = standing_tables.markdown(standings(store.read().records))
    assert ("not on equal terms" in table) == bool(said)


def test_where_nothing_is_established_it_says_how_many_more_seeds(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    said = run(capsys, "gru", "gru[hidden_size=64]", "--from", folder)
    assert said.startswith("no difference between gru and gru[hidden_size=64] on copy:standard is established")
    assert "more seeds would probably show one of this size" in said.splitlines()[0]
    assert "model.hidden_size   128   64" in said


def test_single_records_are_shown_without_a_verdict(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = run(capsys, f"{0:016x}", f"{5:016x}", "--from", folder)
    assert said.startswith("too few seeds for a verdict on gru seed 0 (00000000) and lstm seed 0 (00000000)")
    said = run(capsys, f"{0:016x}", f"{1:016x}", "--from", folder)
    assert "they have no seed in common" in said
    assert "the configurations are the same" in said


def test_the_beginning_of_an_id_is_enough(folder, capsys):
    (found,) = json.loads(run(capsys, "ffff", "lstm", "--task", "sine", "--from", folder, "--json"))
    assert found["first"]["ids"] == found["second"]["ids"] == ["f" * 16]


def test_two_folders_with_the_same_models(folder, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    found = json.loads(run(capsys, folder, other, "--task", "copy", "--json"))
    assert [one["first"]["name"].rpartition(": ")[2] for one in found] == ["gru", "gru[hidden_size=64]", "lstm"]
    assert {one["comparison"]["verdict"] for one in found} == {"tied"}
    (one,) = json.loads(run(capsys, folder, other, "--model", "gru", "--json"))
    assert one["second"]["name"] == f"{other}: gru"


def with_examples(make_document, store, model, seed, scores, number, **others):
    record = make_document(float(np.mean(scores)), model=model, seed=seed, id=f"{number:016x}", **others)
    column = Series(np.array([10]), np.asarray(scores, dtype=np.float32)[None])
    store.write(record_from(record), {"test/examples/recall_accuracy": column})


@pytest.fixture
def answered(tmp_path, make_document):
    """Two models under five seeds with the scores of 400 examples, hard for both or easy for both."""
    store, generator = Store(tmp_path / "answered"), np.random.default_rng(0)
    easy = generator.random(400) < 0.6
    for number in range(10):
        model, seed = ("gru", "lstm")[number // 5], number % 5
        slips = generator.random(400) < (0.02, 0.05)[number // 5]
        with_examples(make_document, store, model, seed, easy & ~slips, number)
    return store


def test_the_interval_over_examples_is_scipys_paired_bootstrap(answered, capsys):
    (found,) = json.loads(run(capsys, "gru", "lstm", "--from", answered.folder, "--json"))
    scores = {
        model: np.mean(
            [
                answered.series(record)["test/examples/recall_accuracy"].values[0]
                for record in answered.read().records
                if record.model == model
            ],
            axis=0,
            dtype=float,
        )
        for model in ("gru", "lstm")
    }
    expected = stats.bootstrap(
        (scores["gru"], scores["lstm"]),
        lambda one, two, axis: one.mean(axis) - two.mean(axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=1,
    ).confidence_interval
    sampling = found["test_examples"]
    assert (sampling["examples"], sampling["seeds"], sampling["absent"]) == (400, 5, None)
    width = expected.high - expected.low
    assert sampling["difference"]["value"] == pytest.approx(found["comparison"]["difference"]["value"])
    assert sampling["difference"]["low"] == pytest.approx(expected.low, abs=0.05 * width)
    assert sampling["difference"]["high"] == pytest.approx(expected.high, abs=0.05 * width)


def test_what_each_interval_covers_is_said(answered, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    said = run(capsys, "gru", "lstm", "--from", answered.folder)
    assert "over test examples: recall_accuracy +0.0" in said
    assert "if others than these 400 were drawn for the same trials of 5 shared seeds (paired bootstrap)" in said


def test_a_difference_on_these_examples_alone_is_said_to_be_that(tmp_path, make_document, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    store, scores = Store(tmp_path / "runs"), np.tile([0.0, 1.0], 50)
    for number in range(10):
        answers = scores.copy()
        if number < 5:
            answers[:10] = np.roll(answers[:10], 1)  # others right, and as many
            answers[0] = 1.0 - 0.01 * number
            answers[1] = 0.5
        with_examples(make_document, store, ("gru", "lstm")[number // 5], number % 5, answers, number)
    said = run(capsys, "gru", "lstm", "--from", store.folder)
    assert said.startswith("gru is better than lstm")
    assert "established on these test examples, and may be another's on others" in said


def test_records_without_the_scores_of_examples_have_the_interval_over_seeds(folder, answered, make_document, capsys):
    (found,) = json.loads(run(capsys, "gru", "lstm", "--task", "copy", "--from", folder, "--json"))
    assert found["test_examples"]["difference"] is None
    assert "no shared seed has the scores of its test examples" in found["test_examples"]["absent"]
    assert "over seeds only, on these test examples" in run(capsys, "gru", "lstm", "--task", "copy", "--from", folder)
    other = {"train": "a", "validation": "b", "test": "of another test set"}
    with_examples(make_document, answered, "rnn", 0, np.ones(400), 11, fingerprints=other)
    with_examples(make_document, answered, "rnn", 1, np.ones(400), 12, fingerprints=other)
    (found,) = json.loads(run(capsys, "gru", "rnn", "--from", answered.folder, "--json"))
    assert found["test_examples"]["absent"] == "they were not tested on the same examples"


def test_a_baseline_is_compared_on_the_same_examples(tmp_path, make_document, capsys, monkeypatch):
    """The regression on names against a model that answers one in thirteen of its rights wrongly."""
    monkeypatch.setenv("COLUMNS", "300")
    task = NamesTask()
    answer, batch = task.baseline_answer("ngram"), task.evaluation_set("test")
    scores = task.example_scores("balanced_accuracy", answer, batch).double().numpy()
    store, baselines = Store(tmp_path / "runs"), {"ngram": {"balanced_accuracy": float(scores.mean())}}
    primary = make_document()["primary"] | {"metric": "balanced_accuracy", "floor_baseline": "ngram"}
    differences = np.zeros(len(scores))
    for seed in range(5):
        own = np.where(np.random.default_rng(seed).random(len(scores)) < 1 / 13, 0, scores)
        differences += (own - scores) / 5
        fingerprints = {"train": "a", "validation": "b", "test": task.fingerprint()["test"]}
        record = make_document(seed=seed, id=f"{seed:016x}", task="names", fingerprints=fingerprints)
        record |= {"baselines": baselines, "primary": primary | {"value": float(own.mean())}}
        column = Series(np.array([10]), own.astype(np.float32)[None])
        store.write(record_from(record), {"test/examples/balanced_accuracy": column})
    (found,) = json.loads(run(capsys, "gru", "ngram", "--from", store.folder, "--json"))
    assert found["comparison"]["verdict"] == "worse"
    assert found["test_examples"]["examples"] == 2999
    sampling = found["test_examples"]["difference"]
    assert sampling["value"] == pytest.approx(differences.mean(), rel=1e-5)
    error = differences.std() / len(differences) ** 0.5
    assert sampling["high"] - sampling["low"] == pytest.approx(2 * 1.96 * error, rel=0.06)
    assert run(capsys, "ngram", "gru", "--from", store.folder).startswith("ngram is better than gru on names:standard")
    with pytest.raises(UserError, match="are both baselines"):
        compare.main(["ngram", "ngram", "--from", str(store.folder)])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("gru", "grux"), "no model or record 'grux'.*models: gru, gru\\[hidden_size=64\\], lstm"),
        (("gru", "lstm", "--task", "sine"), "no model or record 'gru'.*models: lstm"),
        (("gru", "lstm", "--task", "names"), "no record of names; task variants there: copy:standard, sine:standard"),
        (("0000", "gru"), "beginning of 15 records' ids; name one"),
        (("gru", "ffff"), "no task variant has records of both"),
        (("gru", "lstm", "--model", "gru"), "not both folders"),
    ],
)
def test_mistakes_are_told_with_what_there_is(folder, arguments, reason):
    with pytest.raises(UserError, match=reason):
        compare.main([*arguments, "--from", str(folder)])


def test_one_label_of_two_layouts_is_ambiguous(folder, make_document, capsys):
    record = make_document(0.5, seed=0, id="e" * 16, overrides={"model.hidden_size": 64})
    record["configuration"]["model"] = {"hidden_size": 64}
    record["environment"]["precision"] = "bf16-mixed"
    Store(folder).write(record_from(record), {})
    with pytest.raises(UserError, match=r"names 2 entries of copy:standard; name one: gru-\w{6} \(1x cpu") as error:
        compare.main(["gru[hidden_size=64]", "lstm", "--from", str(folder)])
    key = str(error.value).rpartition(" (")[0].rpartition(" ")[2]
    (found,) = json.loads(run(capsys, key, "lstm", "--from", folder, "--json"))
    assert len(found["first"]["ids"]) in (1, 5)
