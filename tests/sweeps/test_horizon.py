"""The longest lag that is solved: found by doubling and bisection, from ordinary records, and told with its limits."""

import json
import math
from dataclasses import replace

import pytest

import rnnae_bench
from rnnae_bench.api.horizons import Horizon
from rnnae_bench.cli import main
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import tasks
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.job import Member, Plan, Refusal, Setting
from rnnae_bench.sweeps.horizon import Bounds, Bracket, Reaching, Tried, lag_of, plain
from rnnae_bench.sweeps.queue import Queue
from rnnae_bench.sweeps.session import Reached

ANY = Bounds()
SHORT = "copy:smoke[protocol.max_steps=4,protocol.evaluate_every=4]"


def searched(horizon, first=20, bounds=ANY, refuses=lambda lag: False):
    """A bracket of a model that solves what is no longer than its horizon, searched to its end."""
    bracket = Bracket(0, first, bounds)
    while (lag := bracket.following()) is not None:
        assert lag not in [one.lag for one in bracket.tried], "nothing is tried twice"
        if refuses(lag):
            bracket.refused = (lag, "there is no such lag")
        else:
            bracket.tried.append(Tried(lag, lag <= horizon, 0.0, "ok", ""))
    return bracket


@pytest.mark.parametrize("first", [1, 2, 20, 777])
@pytest.mark.parametrize("ratio", [1.001, 1.1, math.sqrt(2), 4.0])
def test_the_horizon_lies_in_what_is_found_to_the_ratio_that_is_asked(first, ratio):
    for horizon in [*range(40), 99, 100, 101, 640, 998, 999]:
        found = searched(horizon, first, Bounds(1000, ratio))
        assert found.limit == "model"
        assert not found.is_bound
        assert (found.solved or 0) <= horizon < found.unsolved
        assert (found.solved is None) == (horizon == 0)
        near = found.solved is not None and found.unsolved <= ratio * found.solved
        assert near or found.unsolved - (found.solved or 0) == 1
        assert len(found.tried) <= 24


@pytest.mark.parametrize("longest", [1, 19, 20, 500, 1000])
def test_no_longer_lag_than_allowed_is_tried_and_the_horizon_is_then_a_bound(longest):
    found = searched(10**9, 20, Bounds(longest))
    assert (found.solved, found.unsolved, found.limit) == (longest, None, "longest lag")
    assert max(one.lag for one in found.tried) == longest
    assert found.is_bound


def test_what_the_task_refuses_ends_the_search_on_either_side():
    longer = searched(1000, 20, refuses=lambda lag: lag > 100)
    assert (longer.solved, longer.unsolved, longer.limit, longer.refused[0]) == (80, None, "task", 160)
    shorter = searched(3, 20, refuses=lambda lag: lag < 8)
    assert (shorter.solved, shorter.unsolved, shorter.limit, shorter.refused[0]) == (None, 10, "model", 5)


@pytest.mark.parametrize("bad", [{"longest": 0}, {"ratio": 1.0}, {"ratio": math.inf}, {"ratio": math.nan}])
def test_bounds_that_bound_nothing_are_refused(bad):
    with pytest.raises(UserError, match=next(iter(bad))):
        Bounds(**bad)


class Runs:
    """Plans and runs trials of 2 s each that solve up to a horizon by seed."""

    def __init__(self, make_record, horizons):
        self.planned, self.run = [], []
        self.make_record, self.horizons = make_record, horizons

    def plan(self, setting, seeds):
        assert setting.overrides["task"]["recall"] == 3
        lag = setting.overrides["task"]["delay"]
        self.planned.append((lag, list(seeds)))
        members = tuple(Member(f"{lag:08x}{seed:08x}", seed, seed) for seed in seeds)
        plan = Plan(setting, members, self.make_record(), 10, 1, "cpu", 1, None, lag=("delay", lag))
        return Refusal(setting, "too long") if lag > 300 else plan

    def record(self, candidate):
        self.run.append(candidate.identity)
        solves = candidate.plan.lag[1] <= self.horizons[candidate.member.seed]
        return self.make_record(1.0 if solves else 0.5, id=candidate.identity, seed=candidate.member.seed)


@pytest.fixture
def search(make_record, tmp_path):
    """A function that searches and keeps the records, and gives what was run, the brackets, and who asked for it."""

    def make(horizons, bounds=ANY):
        runs, queue = Runs(make_record, horizons), Queue([], Store(tmp_path), "never")
        brackets = [Bracket(seed, 20, bounds) for seed in range(len(horizons))]
        setting = Setting("copy:standard", "gru", {"task": {"recall": 3}})
        reaching = Reaching(setting, "delay", brackets, queue, runs.plan, "off")
        reaching.refill()
        while queue.waiting:
            for identity, candidate in list(queue.waiting.items()):
                record = runs.record(candidate)
                Store(tmp_path).write(record, {})
                queue.settle(identity, record)
            reaching.refill()
        return runs, brackets, reaching

    return make


def test_each_seed_is_searched_by_itself_and_those_at_one_lag_are_planned_together(search):
    runs, brackets, reaching = search([0, 45, 90, 299, 10**6])
    assert runs.planned[0] == (20, [0, 1, 2, 3, 4])
    assert runs.planned[1:3] == [(10, [0]), (40, [1, 2, 3, 4])]
    for bracket, horizon in zip(brackets, [0, 45, 90], strict=False):
        assert (bracket.solved or 0) <= horizon < bracket.unsolved
    assert [one.limit for one in brackets] == ["model", "model", "model", "task", "task"]
    assert [one.solved for one in brackets[3:]] == [160, 160]
    assert reaching.spent == 2.0 * len(reaching.records) == 2.0 * sum(len(one.tried) for one in brackets)
    told = json.loads(json.dumps(plain(brackets[1])))
    assert [one["lag"] for one in told["tried"]] == sorted(one.lag for one in brackets[1].tried)


def test_what_has_a_record_is_not_run_again(search):
    before, first, _ = search([45, 90])
    assert len(before.run) == sum(len(one.tried) for one in first)
    runs, again, _ = search([45, 90])
    assert not runs.run
    assert [plain(one) for one in again] == [plain(one) for one in first]


def test_the_budget_counts_all_trials_and_what_it_leaves_open_is_said(search):
    _, brackets, reaching = search([45, 90], Bounds(budget=5.0))
    assert reaching.spent == 8.0  # two rounds of two trials: the second begins after 4 s
    assert [(one.solved, one.unsolved, one.limit) for one in brackets] == [(40, None, "budget")] * 2


@pytest.mark.parametrize(
    ("horizons", "bounds", "said"),
    [
        ([45, 90, 45], ANY, "longest delay solved within 10 steps of training: 44 (median over 3 seeds)"),
        (
            [45, 90, 150],
            Bounds(100, 1.5),
            "80 (median over 3 seeds); limited by the longest lag, not the model, for 1 of ",
        ),
        ([150, 90, 150], Bounds(100, 1.5), "at least 100 (median over 3 seeds); limited by the longest lag, not the "),
        ([150], Bounds(100), "at least 100 (seed 0); limited by the longest lag, not the model"),
        (
            [150, 90],
            Bounds(budget=5.0),
            "at least 40 [all equal] (median over 2 seeds); limited by the budget, not the ",
        ),
        ([0, 0], ANY, "no delay that was tried is solved within 10 steps of training (2 seeds)"),
        ([10**6], ANY, "at least 160 (seed 0); limited by the task, not the model"),
    ],
)
def test_the_sentence_says_what_is_a_lower_bound(search, tmp_path, horizons, bounds, said):
    _, brackets, reaching = search(horizons, bounds)
    setting = Setting("copy:standard", "gru", {})
    reached = Reached(setting, "delay", 10, brackets, list(reaching.records.values()), reaching.spent)
    found = Horizon(bounds, reached, tmp_path)
    assert said in found.sentence()
    assert found.as_dict()["median"]["is_bound"] == ("at least" in found.sentence())


def test_a_card_that_names_no_lag_has_no_horizon(make_record):
    plan = Plan(Setting("sine:standard", "gru", {}), (), make_record(), 10, 1, "cpu", 1, None)
    with pytest.raises(UserError, match="task sine has no horizon: its card names no option that sets the lag"):
        lag_of(plan)
    with pytest.raises(UserError, match="delay is 0, and a horizon begins with a whole number above 0"):
        lag_of(replace(plan, lag=("delay", 0)))


@pytest.mark.parametrize("name", [name for name in tasks().names() if tasks().get(name).distribution == "rnnae-bench"])
def test_the_lag_that_a_card_names_lengthens_the_inputs(name):
    task = tasks().get(name).load()
    option = task.card().lag_option
    if option is None:
        return
    for variant in ("smoke", "standard"):
        lag = task.card().variant(variant).data[option]
        lengths = [task.from_variant(variant, **{option: scale * lag}).spec.inputs.length for scale in (1, 2, 4)]
        assert lengths[1] - lengths[0] == lag
        assert lengths[2] - lengths[1] == 2 * lag


def test_a_horizon_is_of_ordinary_trials_and_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = rnnae_bench.horizon(SHORT, "gru", hidden_size=4, seeds=2, longest=3, workers=1, progress=False)
    assert found.longest == {0: None, 1: None}
    assert repr(found).endswith("no delay that was tried is solved within 4 steps of training (2 seeds)")
    assert {record.configuration.task["delay"] for record in rnnae_bench.load("runs").records} == {1, 2}
    alone = rnnae_bench.run(SHORT, "gru", hidden_size=4, task_options={"delay": 1}, progress=False)
    assert alone.record in rnnae_bench.load("runs").records
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*.json")}
    command = ["horizon", "--task", SHORT, "--model", "gru[hidden_size=4]", "--seeds", "2", "--longest", "3"]
    assert main([*command, "--workers", "1", "--json", "--picture", "horizon.png"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*.json")} == before
    assert told == found.as_dict()
    assert [one["limit"] for one in told["seeds"]] == ["model", "model"]
    assert (tmp_path / "horizon.png").read_bytes().startswith(b"\x89PNG")
    assert "shortest not solved" in found._repr_html_()
    assert list(found.frame()["lag"]) == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--ratio", "1"], "--ratio is 1; it must be above 1"),
        (["--longest", "0"], "--longest is 0"),
        (["--budget", "soon"], "--budget is 'soon'; give a duration"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--vectorize", "some"], "vectorize"),
        (["--picture", "nowhere/horizon.png"], "nowhere"),
        (["--model", "gru[hidden_size=[3,4]]"], "a horizon is of one task and one model, and 2 settings are given"),
    ],
)
def test_mistakes_are_told_in_a_line_before_any_work(wrong, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["horizon", "--task", SHORT, "--model", "gru", *wrong]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.glob("runs/*.json"))
