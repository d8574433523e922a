"""The width that a size was wanted for: found by bisection, refused where none comes near, and told in the record."""

import dataclasses
import json
from itertools import count
from unittest.mock import Mock

import pytest
import torch
from msgspec import convert, to_builtins

import rnnae_bench
from rnnae_bench import Optimization, SequenceModel
from rnnae_bench.cli import main
from rnnae_bench.errors import UserError
from rnnae_bench.options.quantities import matched_to
from rnnae_bench.sweeps.config import SweepOptions
from rnnae_bench.sweeps.executors.job import Setting
from rnnae_bench.sweeps.session import Session
from rnnae_bench.trial import matching, timing
from rnnae_bench.trial.matching import match_width, nearest
from rnnae_bench.trial.pair import Pair

SHORT = {"protocol": {"max_steps": 4, "evaluate_every": 4}}


class Heads(SequenceModel):
    """A GRU whose units come in groups, and that can't be built on the meta device.

    Args:
        units: Its width.
        heads: What the width must be a multiple of.
    """

    width_option = "units"

    def __init__(self, spec, units: int = 12, heads: int = 12):
        if units % heads:
            raise UserError(f"units is {units}; it must be a multiple of heads, {heads}")
        super().__init__(spec, units, Optimization())
        self.cell = torch.nn.GRU(self.embedding.features, units, batch_first=True)
        self.norm = float(self.cell.weight_hh_l0.abs().max())  # no number on the meta device
        self.units = units

    @property
    def state_size(self) -> int:
        return self.units

    def states(self, inputs, lengths=None):
        return self.cell(inputs)[0]


class Fixed(Heads):
    """One whose width is not an option.

    Args:
        heads: Unused.
    """

    width_option = None

    def __init__(self, spec, heads: int = 12):
        super().__init__(spec, 12, heads)


def found(model, wanted, task="copy:smoke", given=(), **options):
    pair = Pair(task, model)
    return match_width(pair, pair.resolve({"model": options}), given, wanted)


@pytest.mark.parametrize("asked", [1, 2, 3, 49, 50, 57, 1000, 65536**2, 65536**2 + 5])
def test_the_nearest_is_that_of_a_search_through_all(asked):
    best = min(range(1, 2**16 + 1), key=lambda width: (abs(width**2 - asked), width))
    assert nearest(lambda width: width**2, asked) == (best, best**2)


@pytest.mark.parametrize("heads", [1, 3, 7, 48])
def test_widths_that_a_model_refuses_are_passed_over(heads):
    taken = range(heads, 2**16 + 1, heads)
    for asked in (1, heads, 5 * heads + 2, 1000, 2**16, 10**7):
        best = min(taken, key=lambda width: (abs(width - asked), width))
        assert nearest(lambda width: None if width % heads else width, asked) == (best, best)
    assert nearest(lambda width: None, 5) is None


@pytest.mark.parametrize("widest", [1, 2, 100, 1500, 2047, 2**16])
def test_the_widest_that_a_model_takes_is_found(widest):
    for asked in (10**9, widest, widest - 1, widest + 1):
        best = min(max(asked, 1), widest)
        assert nearest(lambda width: width if width <= widest else None, asked) == (best, best)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("gru", lambda n, inputs: 3 * n * (inputs + n + 2)),
        ("lstm", lambda n, inputs: 4 * n * (inputs + n + 2)),
        ("rnn", lambda n, inputs: n * (inputs + n + 2)),
    ],
)
def test_recurrent_models_have_the_width_of_their_formula(model, size):
    spec = Pair("copy:smoke", model).task_class.from_variant("smoke").spec
    inputs, classes = spec.inputs.vocabulary, spec.outputs.count
    for asked in (3000, 10_000, 1_500_000):
        options, match = found(model, f"parameters={asked}")
        every = {n: size(n, inputs) + classes * (n + 1) for n in range(1, 1500)}
        assert options == {"hidden_size": min(every, key=lambda n: abs(every[n] - asked))}
        assert (match.got, match.asked, match.width) == (every[match.width], asked, options["hidden_size"])


def test_a_state_is_matched_too_and_other_options_stand():
    assert found("lstm", "state=256", layers=2)[0] == {"hidden_size": 64}
    assert found("gru", "state=1k")[1].got == 1000


def test_sizes_keep_their_proportion_and_the_code_is_the_tasks():
    options, match = found("conv_ae", "parameters=1M", "denoise:smoke")
    narrow, wide = options["channels"]
    assert wide == match.width
    assert narrow == round(wide / 2)
    options, match = found("dense_ae", "parameters=20k", "reconstruct:smoke")
    assert options == {"hidden_sizes": [match.width]}


def test_a_plugin_names_its_width_and_may_refuse_some_and_need_its_weights():
    options, match = found(Heads, "state=50")
    assert options == {"units": 48}
    assert (match.option, match.got) == ("units", 48)
    assert found(Heads, "state=100", heads=20)[0] == {"units": 100}


@pytest.mark.parametrize(
    ("model", "wanted", "task", "message"),
    [
        ("gru", "parameters=10", "copy:smoke", "the nearest that gru on copy:smoke reaches is 57 .*hidden_size=1;"),
        ("gru", "state=1M", "copy:smoke", "reaches is 65,536 numbers in its state, at hidden_size=65536"),
        ("dense_ae", "state=256", "denoise:smoke", "dense_ae on denoise:smoke has 256 .* whatever its hidden_sizes"),
        (Heads, "state=18", "copy:smoke", "reaches is 12 numbers in its state, at units=12"),
        (Fixed, "state=12", "copy:smoke", "model 'fixed' has no width to choose .*width_option"),
        ("gru", "seconds=1M", "copy:smoke", "a step would take 2.5e\\+03 s, .* ask for at most 2000"),
        ("esn", "seconds=1", "narma:smoke", "'esn' trains itself by its fit"),
        ("gru", "flops=1G", "copy:smoke", "'flops' can't be matched; write parameters=10k, state=256 or seconds=60"),
        ("gru", "parameters=1.2345k", "copy:smoke", "'1.2345k' is no whole number above 0"),
        ("gru", "parameters", "copy:smoke", "'' is no whole number"),
    ],
)
def test_what_no_width_reaches_is_refused_in_a_line(model, wanted, task, message):
    with pytest.raises(UserError, match=message) as caught:
        found(model, wanted, task)
    assert "\n" not in str(caught.value)


def test_a_models_own_refusal_is_told_and_an_unsupported_task_is_left_to_the_trial():
    with pytest.raises(UserError, match="layers is 0"):
        found("gru", "state=8", layers=0)
    assert found("dense_ae", "parameters=10k", "copy:smoke") == ({}, None)
    assert found("linear_ae", "parameters=10k", "copy:smoke") == ({}, None)


@pytest.mark.parametrize("text", ["10k", "10K", "10_000", "10000", "0.01M"])
def test_amounts_as_people_write_them(text):
    assert matched_to(f" parameters = {text}") == ("parameters", 10_000)


def test_seconds_are_those_of_the_first_steps_times_the_budget(monkeypatch):
    clock = count(step=0.25)
    monkeypatch.setattr(timing, "perf_counter", lambda: next(clock))
    pair = Pair("copy:smoke", "gru")
    assert timing.training_seconds(pair, pair.resolve({"model": {"hidden_size": 4}})) == 400 * 0.25


def test_a_width_for_seconds_is_taken_again_where_it_was_chosen_before(tmp_path, monkeypatch):
    timed = []

    def seconds(pair, options):
        timed.append(options["model"]["hidden_size"])
        return 0.01 * timed[-1] ** 2 * (1 + len(timed) / 1000)

    monkeypatch.setattr(matching, "training_seconds", seconds)
    monkeypatch.chdir(tmp_path)
    asked = {"task_options": SHORT, "match": "seconds=15", "progress": False}
    record = rnnae_bench.run("copy:smoke", "gru", **asked).record
    assert str(record.match) == f"{record.match.got} seconds of training, as they were estimated, of 15 asked"
    assert record.configuration.model["hidden_size"] == record.match.width == timed[-1]
    assert abs(record.match.got - 15) <= 1.5
    tried = len(timed)
    again = rnnae_bench.run("copy:smoke", "gru", seeds=2, **asked)
    assert [one.record.match for one in again] == [record.match] * 2
    assert len(timed) == tried
    rnnae_bench.run("copy:smoke", "gru", layers=2, **asked)
    assert len(timed) > tried
    tried, overrides = len(timed), {"task": SHORT}
    with Session(SweepOptions(task=["copy:smoke"], model=["gru"], match="seconds=15", out="runs"), Mock()) as sweep:
        (setting,) = sweep._wanted
        before = sweep._as_before(dataclasses.replace(setting, overrides=overrides))
        assert before.overrides == {**overrides, "model": {"hidden_size": record.match.width}}
        assert before.match == record.match
        # As it goes to a worker.
        assert convert(json.loads(json.dumps(to_builtins(before))), Setting) == before
        assert sweep._as_before(setting) == setting
    assert len(timed) == tried


def test_a_width_for_seconds_that_is_not_there_is_refused_with_the_nearest(monkeypatch):
    monkeypatch.setattr(matching, "training_seconds", lambda pair, options: 2 + 0.6 * options["model"]["hidden_size"])
    with pytest.raises(UserError, match=r"the nearest that gru on copy:smoke reaches is 2\.6 seconds of training"):
        found("gru", "seconds=1")
    options, match = found("gru", "seconds=10")
    assert (options, match.got) == ({"hidden_size": 12}, 9)


def test_run_records_what_was_asked_and_its_id_rests_on_the_width_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = rnnae_bench.run("copy:smoke", "gru", task_options=SHORT, match="state=16", progress=False)
    record = results.record
    assert record.configuration.model["hidden_size"] == 16
    assert rnnae_bench.load("runs").record.match == record.match
    assert (record.match.quantity, record.match.asked, record.match.got) == ("state", 16, 16)
    other = rnnae_bench.run("copy:smoke", "gru", hidden_size=16, task_options=SHORT, out="other", progress=False)
    assert other.record.id == record.id
    assert other.record.match is None
    with pytest.raises(UserError, match=r"^match state=16 chooses hidden_size, which is given too"):
        rnnae_bench.run("copy:smoke", "gru", hidden_size=128, match="state=16")
    assert main(["results", "runs"]) == 0
    assert "matched: gru[hidden_size=16], 16 numbers in the state of 16 asked" in " ".join(
        capsys.readouterr().out.split()
    )
    again = main(["reproduce", record.id[:6], "--from", "runs", "--json"])
    assert again == 0


def test_the_command_line_and_its_file_know_what_was_given(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["run", "--task", "copy:smoke", "--model", "gru", "--task.protocol.max_steps", "4"]
    command += ["--task.protocol.evaluate_every", "4", "--match", "state=16", "--json"]
    assert main([*command, "--model.layers", "2"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["match"] == {"quantity": "state", "asked": 16, "got": 16, "option": "hidden_size", "width": 8}
    assert main([*command, "--model.hidden_size", "128"]) == 2
    (tmp_path / "own.yaml").write_text("model: {hidden_size: 128}")
    assert main([*command, "--config", "own.yaml"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert all("chooses --model.hidden_size, which is given too" in line for line in told)


def test_a_sweep_matches_each_of_its_models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = {"task": "copy:smoke[protocol.max_steps=4,protocol.evaluate_every=4]", "match": "state=16", "workers": 1}
    swept = rnnae_bench.sweep(model=["gru", "lstm[layers=[1,2]]", "gru[hidden_size=8]"], **chosen, progress=False)
    assert [record.label for record in swept.records] == [
        "gru[hidden_size=16]",
        "lstm[hidden_size=8]",
        "lstm[hidden_size=4,layers=2]",
    ]
    assert {record.match.got for record in swept.records} == {16}
    (reason,) = swept.refused.values()
    assert "hidden_size, which is given too" in reason
    with pytest.raises(UserError, match="match and search both choose"):
        rnnae_bench.sweep(model="gru", **chosen, search="optuna")
