"""A search by ask and tell: budgets, resumption after kills, what is told and what is found."""

import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from rich.console import Console

from rnnae_bench.cli.search_table import table
from rnnae_bench.contracts.search_space import Choices, Range
from rnnae_bench.errors import UserError
from rnnae_bench.sweeps.executors.job import Setting
from rnnae_bench.sweeps.grid import label
from rnnae_bench.sweeps.journal import JournalLock
from rnnae_bench.sweeps.search import Search, space_of

pytest.importorskip("optuna")

RATE = "optimization.learning_rate"
SPACE = {"hidden_size": Range(4, 64, log=True), RATE: Range(1e-4, 1e-1, log=True), "layers": Choices((1, 2))}
GRU, LSTM = Setting("copy:smoke", "gru", {}), Setting("copy:smoke", "lstm", {"trainer": {"precision": "bf16-mixed"}})
FAILURE = {"message": "x", "step": 1, "traceback": None}


@pytest.fixture
def storage(tmp_path) -> str:
    return str(tmp_path / "runs" / "search.journal")


def search(storage: str, trials: int = 6, studies=(GRU, LSTM), space=SPACE) -> Search:
    return Search(studies, {"gru": space, "lstm": space}, trials, storage)


def everything(asked: Search) -> list[Setting]:
    found = []
    while (setting := asked.ask()) is not None:
        found.append(setting)
    return found


def optimum(setting: Setting) -> float:
    """An accuracy that is best, 1, at a learning rate of 0.01."""
    rate = setting.overrides["model"]["optimization"]["learning_rate"]
    return 1.0 - 0.2 * abs(math.log10(rate / 0.01))


@pytest.fixture
def record(make_record):
    """A record whose metric on the validation set is given; that on the test set says the opposite."""

    def make(value: float | None, status: str = "ok"):
        made = make_record(None if value is None else -value, status=status)
        made.metrics["validation"] = {} if value is None else {"recall_accuracy": value}
        return made

    return make


def run(asked: Search, record) -> list[Setting]:
    ran = []
    while (setting := asked.ask()) is not None:
        ran.append(setting)
        asked.tell(setting, record(optimum(setting)))
    return ran


def test_every_study_has_the_same_budget_and_they_take_turns(storage, record):
    ran = run(search(storage), record)
    assert [one.model for one in ran] == ["gru", "lstm"] * 6
    assert len({label(one) for one in ran}) == 12
    for one in ran:
        options = one.overrides["model"]
        assert 4 <= options["hidden_size"] <= 64
        assert isinstance(options["hidden_size"], int)
        rate = options["optimization"]["learning_rate"]
        assert 1e-4 <= rate <= 1e-1
        assert rate == float(f"{rate:.4g}")
        assert options["layers"] in (1, 2)
    assert ran[1].overrides["trainer"] == {"precision": "bf16-mixed"}


def test_the_best_on_the_validation_set_is_found(storage, record):
    asked = search(storage)
    ran = [one for one in run(asked, record) if one.model == "gru"]
    gru, lstm = asked.found()
    assert gru.study == "copy:smoke gru"
    assert lstm.study == "copy:smoke lstm bf16-mixed"
    assert gru.best == max(ran, key=optimum)
    assert gru.value == pytest.approx(max(map(optimum, ran)))
    assert gru.metric == "recall_accuracy"
    assert (gru.tried, gru.failed) == (6, 0)
    assert gru.command.startswith("rnnae-bench run --task copy:smoke --model gru --model.")
    assert gru.expected_best[0] == pytest.approx(np.mean([*map(optimum, ran)]))
    assert gru.expected_best[-1] == pytest.approx(gru.value)
    assert len(gru.as_dict()["expected_best"]) == 6


def test_a_metric_to_minimise_is_minimised(storage, record):
    def error(setting):
        made = record(2.0 - optimum(setting))
        primary = replace(made.primary, direction="minimize", floor=3.0, ceiling=0.0)
        return replace(made, primary=primary)

    asked = search(storage, studies=[GRU])
    ran = []
    while (setting := asked.ask()) is not None:
        ran.append(setting)
        asked.tell(setting, error(setting))
    (found,) = asked.found()
    assert found.best == max(ran, key=optimum)
    assert found.value == pytest.approx(2.0 - optimum(found.best))
    assert found.expected_best[0] > found.expected_best[-1]


def test_the_sampler_learns(storage, record):
    """Of 40 trials the last ten are nearer to the optimum than the first ten, which are drawn at random."""
    ran = run(search(storage, trials=40, studies=[GRU]), record)
    assert np.mean([*map(optimum, ran[-10:])]) > np.mean([*map(optimum, ran[:10])])


def test_the_same_seed_asks_for_the_same(tmp_path, record):
    first, second = (run(search(str(tmp_path / name), trials=12), record) for name in ("a", "b"))
    assert first == second


def test_a_search_that_stops_goes_on_and_repeats_nothing(storage, record):
    first = search(storage)
    told = [first.ask() for _ in range(5)]
    for setting in told[:3]:
        first.tell(setting, record(optimum(setting)))
    second = search(storage)
    rest = everything(second)
    assert {label(one) for one in rest[:2]} == {label(one) for one in told[3:]}
    assert len(rest) == 12 - 3
    assert len({label(one) for one in told + rest}) == 12
    for setting in rest:
        second.tell(setting, record(optimum(setting)))
    assert everything(search(storage)) == []
    assert [found.tried for found in search(storage).found()] == [6, 6]


def test_a_larger_budget_goes_on_too(storage, record):
    run(search(storage, trials=3), record)
    assert len(run(search(storage, trials=5), record)) == 4


@pytest.mark.parametrize(("worst", "counted"), [(0.5, 0.125), (0.1, 0.1)])
def test_failed_trials_are_told_as_failed_and_count_as_the_worst_or_the_floor(storage, record, worst, counted):
    asked = search(storage, trials=4, studies=[GRU])
    values = [0.9, None, worst, None]
    for value in values:
        setting = asked.ask()
        asked.tell(setting, record(value, "ok" if value else "diverged"))
    (found,) = asked.found()
    assert (found.tried, found.failed) == (4, 2)
    assert found.value == pytest.approx(0.9)
    assert found.expected_best[0] == pytest.approx((0.9 + worst + 2 * counted) / 4)
    assert everything(asked) == []


def test_where_all_fail_nothing_is_found(storage, record):
    asked = search(storage, trials=2, studies=[GRU])
    for setting in everything(asked):
        asked.tell(setting, record(None, "oom"))
    (found,) = asked.found()
    assert (found.best, found.value, found.expected_best, found.failed) == (None, None, (), 2)


def test_an_interrupted_trial_stays_open(storage, record):
    asked = search(storage, trials=2, studies=[GRU])
    first, second = everything(asked)
    asked.tell(first, record(None, "interrupted"))
    asked.tell(second, record(0.5))
    assert asked.ask() is None
    assert everything(search(storage, trials=2, studies=[GRU])) == [first]


def test_several_seeds_are_one_mean_and_one_that_fails_fails_all(storage, record):
    asked = search(storage, trials=2, studies=[GRU])
    first, second = everything(asked)
    asked.tell(first, record(0.25), record(0.75))
    asked.tell(second, record(0.9), record(None, "diverged"))
    (found,) = asked.found()
    assert (found.value, found.failed, found.best) == (pytest.approx(0.5), 1, first)


def test_a_small_space_is_not_run_through_twice(storage, record):
    space = {"layers": Choices((1, 2)), "initialization": Choices(("pytorch", "identity"))}
    asked = search(storage, trials=30, studies=[GRU], space=space)
    ran = []
    while (setting := asked.ask()) is not None:
        ran.append(setting)
        asked.tell(setting, record(0.5))
    assert len(ran) == len({label(one) for one in ran}) <= 4
    assert asked.found()[0].tried == 30


def test_open_twins_are_told_together(storage, record):
    asked = search(storage, trials=8, studies=[GRU], space={"layers": Choices((1,))})
    (only,) = everything(asked)
    asked.tell(only, record(0.5))
    assert asked.found()[0].tried == 8


def test_choices_may_be_anything_that_json_has(storage):
    sizes = ((), (128, 64), "none", None, True, 1, 1.5)
    space = {"hidden_sizes": Choices(tuple(list(one) if isinstance(one, tuple) else one for one in sizes))}
    asked = everything(search(storage, trials=60, studies=[GRU], space=space))
    values = [one.overrides["model"]["hidden_sizes"] for one in asked]
    assert sorted(map(repr, values)) == sorted(["[]", "[128, 64]", "'none'", "None", "True", "1", "1.5"])


def test_what_the_brackets_set_is_not_searched(storage):
    fixed = Setting("copy:smoke", "gru", {"model": {"hidden_size": 8, "optimization": {"clip": 0.5}}})
    for one in everything(search(storage, studies=[fixed])):
        assert one.overrides["model"]["hidden_size"] == 8
        assert one.overrides["model"]["optimization"].keys() == {"clip", "learning_rate"}
    with pytest.raises(UserError, match=r"gru\[hidden_size=8,.* sets all that could be searched"):
        search(storage, studies=[fixed], space={"hidden_size": SPACE["hidden_size"]})


def test_another_space_is_another_study(storage, record):
    run(search(storage, trials=2, studies=[GRU]), record)
    narrow = {**SPACE, "layers": Choices((1, 2, 3))}
    assert len(run(search(storage, trials=2, studies=[GRU], space=narrow), record)) == 2


def test_what_was_not_asked_for_is_not_to_be_told(storage, record):
    with pytest.raises(ValueError, match="copy:smoke gru was not asked for"):
        search(storage).tell(GRU, record(0.5))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, SPACE),
        ({"layers": [1, 2]}, {"layers": Choices((1, 2))}),
        ({"lstm": {"layers": [1]}}, SPACE),
        (
            {"layers": [1, 2], "gru": {"layers": [3], RATE: {"low": 1, "high": 2}}},
            {"layers": Choices((3,)), RATE: Range(1, 2)},
        ),
    ],
)
def test_the_users_space_takes_the_place_of_the_models(given, expected):
    assert space_of("gru", given, SPACE) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": 3}, "search space of layers: got 3; write"),
        ({"gru": {"layers": 3}}, "search space of layers: got 3; write"),
        ({"layers": []}, "search space of layers: there is nothing to choose from"),
        ({"layers": {"low": 3, "high": 2}}, "the range from 3 to 2 is empty"),
        ({"layers": {"low": 0, "high": 2, "log": True}}, "has no logarithm"),
        ({"layers": {"low": "a", "high": 2}}, "search space of layers: got"),
        ({"layers": {"low": 1, "high": 2, "step": 1}}, "search space of layers: .*unexpected keyword argument 'step'"),
    ],
)
def test_a_space_that_is_none_is_the_users_mistake(given, message):
    with pytest.raises(UserError, match=message):
        space_of("gru", given, SPACE)


def test_a_model_without_ranges_needs_a_space():
    with pytest.raises(UserError, match="model 'leaky' declares no ranges; give --search-space"):
        space_of("leaky", {}, {})


@pytest.mark.parametrize("url", ["postgresql://nobody@nowhere.invalid/x", "nonsense://x", "/proc/none/search.journal"])
def test_a_storage_that_cannot_be_opened_is_the_users_mistake(url):
    with pytest.raises(UserError, match="cannot open the search's storage"):
        search(url)


def test_a_database_serves_as_well(tmp_path, record):
    url = f"sqlite:///{tmp_path / 'search.db'}"
    run(search(url, trials=2), record)
    assert [found.tried for found in search(url, trials=2).found()] == [2, 2]


def test_the_table_has_a_row_a_study(storage, record):
    asked = search(storage, trials=12)
    run(asked, record)
    _, shown, _ = table(asked.found()).renderables
    assert [column.header for column in shown.columns] == [
        *("searched", "tried", "failed", "best"),
        *("n = 1", "n = 2", "n = 5", "n = 10", "n = 12"),
    ]
    assert shown.row_count == 2
    assert next(iter(shown.columns[-1].cells)) == f"{asked.found()[0].value:.4g}"
    assert table([]).renderables[1].row_count == 0


def test_the_brackets_of_a_study_are_shown(storage):
    fixed = Setting("copy:smoke", "gru", {"model": {"hidden_size": 8}})
    console = Console(width=120)
    with console.capture() as capture:
        console.print(table(search(storage, studies=[fixed]).found()))
    assert "copy:smoke gru[hidden_size=8]" in capture.get()


COMMITTED = min((Path(__file__).parents[2] / "leaderboards" / "records").glob("*.json"))
"""A record of a trial that ended well."""

SEARCHER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from rnnae_bench.records.document import load
    from rnnae_bench.sweeps.executors.job import Setting
    from rnnae_bench.contracts.search_space import Choices, Range
    from rnnae_bench.sweeps.grid import label
    from rnnae_bench.sweeps.search import Search
    space = {"layers": Range(1, 1000000), "activation": Choices(("tanh", "relu"))}
    search = Search([Setting("copy:smoke", "rnn", {})], {"rnn": space}, 60, sys.argv[1])
    print("ready", flush=True)
    while (setting := search.ask()) is not None:
        print(label(setting), flush=True)
        search.tell(setting, load(Path(sys.argv[2])))
    print("done", flush=True)
    """
)


def searcher(storage: str) -> subprocess.Popen:
    words = [sys.executable, "-c", SEARCHER, storage, str(COMMITTED)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_killed_searches_go_on_and_keep_to_the_budget(storage):
    """Three searches in turn are killed in their work; at most the setting that one was at is asked for again."""
    asked: list[str] = []
    for after in (4, 9, 14):
        with searcher(storage) as process:
            asked += [process.stdout.readline() for _ in range(1 + after)][1:]
            os.kill(process.pid, signal.SIGKILL)
            asked += process.stdout.readlines()
    with searcher(storage) as process:
        lines = process.stdout.readlines()
    asked += lines[1:-1]
    assert lines[-1] == "done\n"
    assert len(set(asked)) == 60
    assert len(asked) <= 60 + 3


def test_two_searches_at_once_keep_to_one_budget(storage):
    with searcher(storage) as first, searcher(storage) as second:
        asked = [*first.stdout.readlines()[1:-1], *second.stdout.readlines()[1:-1]]
    # Each may create the last one; what is found counts one of them.
    assert 60 <= len(set(asked)) <= 61
    space = {"layers": Range(1, 1000000), "activation": Choices(("tanh", "relu"))}
    (found,) = Search([Setting("copy:smoke", "rnn", {})], {"rnn": space}, 60, storage).found()
    assert found.tried == 60


def test_a_line_that_a_killed_process_left_unfinished_is_removed(storage, record):
    run(search(storage, trials=2, studies=[GRU]), record)
    with Path(storage).open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    assert len(run(search(storage, trials=4, studies=[GRU]), record)) == 2
    assert [found.tried for found in search(storage, trials=4, studies=[GRU]).found()] == [4]


def test_the_lock_is_gone_with_its_process(tmp_path):
    journal = tmp_path / "search.journal"
    code = (
        "import pathlib, sys, signal\n"
        "from rnnae_bench.sweeps.journal import JournalLock\n"
        "JournalLock(pathlib.Path(sys.argv[1])).acquire()\n"
        "print('held', flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(journal)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        process.kill()
    lock = JournalLock(journal)
    assert lock.acquire()
    lock.release()


def test_optuna_comes_only_with_a_search_and_torch_never(storage):
    code = (
        "import sys\n"
        "from rnnae_bench.sweeps.executors.job import Setting\n"
        "from rnnae_bench.contracts.search_space import Choices\n"
        "from rnnae_bench.sweeps.search import Search\n"
        "assert 'optuna' not in sys.modules\n"
        "search = Search([Setting('copy:smoke', 'gru', {})], {'gru': {'layers': Choices((1, 2))}}, 14, sys.argv[1])\n"
        "while search.ask(): pass\n"
        "assert 'optuna' in sys.modules\n"
        "assert not {'torch', 'lightning'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code, storage], check=True)
