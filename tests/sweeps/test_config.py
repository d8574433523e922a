"""The options of a sweep, from flags and from a file."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from rnnae_bench.errors import UserError
from rnnae_bench.options.durations import seconds
from rnnae_bench.sweeps.config import SweepOptions, parse, parser, read
from rnnae_bench.sweeps.executors.job import Setting
from rnnae_bench.sweeps.grid import settings

PAIR = ("--task", "copy", "--model", "gru")

FILE = """\
# a sweep
task: copy
model: [{name: gru, hidden_size: [64, 128]}, lstm]
precision: [32, bf16-mixed]
devices: 1
vectorize: off
time_limit: 10m
seeds: 3
workers: null
search: optuna
search_space:
  optimization.learning_rate: {low: 1e-4, high: 1e-2, log: true}
"""


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(FILE)
    return path


def test_flags_alone():
    options = parse(
        [
            *(
                "--task",
                "copy",
                "--task=names[protocol.max_steps=200]",
                "--model",
                "gru[hidden_size=[64,128],layers=2]",
            ),
            *("--precision", "32", "--precision", "bf16-mixed", "--devices", "1", "--devices", "2", "--data_seed", "4"),
            *("--time-limit", "1h30m", "--gpus-per-trial=.25", "--vectorize", "8", "--retries", "0", "--dry-run"),
        ]
    )
    assert options == SweepOptions(
        task=["copy", "names[protocol.max_steps=200]"],
        model=["gru[hidden_size=[64,128],layers=2]"],
        precision=["32", "bf16-mixed"],
        devices=[1, 2],
        data_seed=4,
        time_limit=5400.0,
        gpus_per_trial=0.25,
        vectorize=8,
        retries=0,
        dry_run=True,
    )
    assert len(settings(options.axes)) == 2 * 2 * 2 * 2


def test_a_file_alone(file):
    options = parse(["--config", str(file)])
    assert options == SweepOptions(
        task=["copy"],
        model=[{"name": "gru", "hidden_size": [64, 128]}, "lstm"],
        precision=["32", "bf16-mixed"],
        vectorize="off",
        time_limit=600.0,
        seeds=3,
        search="optuna",
        search_space={"optimization.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    )
    assert Setting("copy:standard", "gru", {"model": {"hidden_size": 64}}) in settings(options.axes)


@pytest.mark.parametrize("order", [1, -1])
def test_flags_win_over_the_file_wherever_they_stand(file, order):
    words = [["--seeds", "5"], ["--config", str(file)], ["--task", "names"], ["--task", "sine"], ["--vectorize=auto"]]
    options = parse([word for pair in words[::order] for word in pair])
    assert sorted(map(str, options.task)) == ["names", "sine"]
    assert (options.seeds, options.vectorize, options.time_limit) == (5, "auto", 600.0)
    assert options.model == [{"name": "gru", "hidden_size": [64, 128]}, "lstm"]


def test_of_several_files_the_later_ones_win(file, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("seeds: 4\nmodel: rnn\n")
    options = parse(["--config", str(file), "--config", str(more), "--threads", "2"])
    assert (options.seeds, options.threads, options.time_limit) == (4, 2, 600.0)
    assert options.model == ["rnn"]


def test_the_printed_configuration_is_read_back_to_the_same(file, capsys, tmp_path):
    words = ["--config", str(file), "--seeds", "7", "--task", "sine", "--json"]
    with pytest.raises(SystemExit) as ended:
        parse([*words, "--print_config"])
    assert ended.value.code == 0
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    assert parse(["--config", str(printed)]) == parse(words)
    assert yaml.safe_load(printed.read_text()).keys() == {field.name for field in fields(SweepOptions)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seedz: 3", "14: 'seedz' is not an option of a sweep; did you mean 'seed' or 'seeds'?"),
        ("qqq: 3", "14: 'qqq' is not an option of a sweep; these are: task, model, precision"),
        ("threads: five", "14: 'threads' is \"five\"; it must be a whole number"),
        ("threads: 1.5", "14: 'threads' is 1.5; it must be a whole number"),
        ("gpus_per_trial: [1]", "14: 'gpus_per_trial' is [1]; it must be a number"),
        ("overwrite: maybe", "14: 'overwrite' is \"maybe\"; it must be 'never', 'failed' or 'always'"),
        ("data_seed: x", "14: 'data_seed' is \"x\"; it must be a whole number"),
        ("dry_run: maybe", "14: 'dry_run' is \"maybe\"; it must be true or false"),
        ("out: [a]", "14: 'out' is [\"a\"]; it must be a text"),
        ("seeds: 4", "14: not YAML: 'seeds' is given twice"),
        ("  a: b: c", "14: not YAML: mapping values are not allowed in this context"),
    ],
)
def test_a_mistake_in_the_file_has_its_line_and_key(file, line, message):
    file.write_text(f"{FILE}\n{line}\n")
    with pytest.raises(UserError) as caught:
        parse(["--config", str(file)])
    assert str(caught.value).startswith(f"{file}:{message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", ["soon", "[1]", "true", "1:30"])
def test_a_time_limit_that_is_none_has_its_line_and_key(tmp_path, limit):
    path = tmp_path / "sweep.yaml"
    path.write_text(f"task: copy\ntime_limit: {limit}\n")
    with pytest.raises(UserError, match=r"sweep.yaml:2: 'time_limit' is .*; it must be a duration, such as 90, 10m"):
        read(path)


@pytest.mark.parametrize("content", ["- a\n- b\n", "word"])
def test_a_file_that_is_no_mapping(tmp_path, content):
    path = tmp_path / "sweep.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"the options of a sweep are a mapping, this is a (list|str)"):
        read(path)


def test_a_file_without_options_and_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("# nothing\n")
    assert read(path) == {}
    with pytest.raises(UserError, match=r"cannot read .*absent.yaml: No such file"):
        parse(["--config", str(tmp_path / "absent.yaml")])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "gru"], r"sweep needs --task NAME; installed: .*copy"),
        (["--task", "copy"], r"sweep needs --model NAME; installed: .*gru"),
        ([*PAIR, "--seedz", "3"], r"--seedz is not an option of sweep; did you mean --seed or --seeds"),
        ([*PAIR, "--seedz=3"], r"--seedz is not an option of sweep; did you mean --seed or --seeds"),
        ([*PAIR, "extra"], "extra is not an option of sweep"),
        ([*PAIR, "--seeds", "x"], "--seeds: got x; it must be a whole number"),
        ([*PAIR, "--seeds", "0"], "--seeds is 0; it must be above 0"),
        ([*PAIR, "--devices", "x"], "--devices: got 'x'; it must be a list, each of it a whole number"),
        ([*PAIR, "--vectorize", "yes"], "--vectorize: got yes; it must be 'auto', 'off' or a whole number"),
        ([*PAIR, "--vectorize", "0"], "--vectorize is 0; it must be above 0"),
        ([*PAIR, "--time-limit", "soon"], '--time-limit is "soon"; it must be a duration'),
        ([*PAIR, "--time-limit", "0"], "--time-limit is 0.0; it must be above 0"),
        ([*PAIR, "--retries", "-1"], "--retries is -1; it must be 0 or more"),
        ([*PAIR, "--search", "grid"], "--search: got grid; it must be 'optuna'"),
        ([*PAIR, "--search-space", "{layers: [1]}"], "--search-space is given and no --search"),
        ([*PAIR, "--search-space", "[1]", "--search", "optuna"], r"--search-space: got \[1\]; it must be a mapping"),
        ([*PAIR, "--ray-address", "auto"], "--ray-address auto needs --executor ray"),
        (["--task"], "argument --task: expected one argument"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(words, message):
    with pytest.raises(UserError, match=message) as caught:
        parse(words)
    assert "\n" not in str(caught.value)


def test_collecting_needs_no_task():
    assert parse(["--collect", "--out", "there"]).out == "there"


def test_a_search_has_seeds_of_its_own():
    assert parse([*PAIR]).first_seed == 0
    assert parse([*PAIR, "--search", "optuna"]).first_seed == 1000
    assert parse([*PAIR, "--search", "optuna", "--seed", "5"]).first_seed == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), (0.5, 0.5), ("10m", 600), ("2h", 7200), ("1h2m3s", 3723), ("1.5h", 5400), (".5m", 30)],
)
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "10 m", "1m2h", "-3", "1d", "True", "nan", "1e3"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="is no duration"):
        seconds(text)


def test_every_option_is_in_the_help_with_its_meaning():
    text = " ".join(parser().format_help().split())
    for field in fields(SweepOptions):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "Longest wall time of a trial, as 90, 10m or 2h" in text
    assert all(action.help for action in parser()._actions)


def test_neither_help_nor_parsing_imports_torch(file):
    code = (
        "import sys\n"
        "from rnnae_bench.sweeps.config import parse\n"
        "from rnnae_bench.sweeps.grid import settings\n"
        f"settings(parse(['--config', {str(file)!r}]).axes)\n"
        "try:\n"
        "    parse(['--help'])\n"
        "except SystemExit as ended:\n"
        "    assert ended.code == 0\n"
        "assert not {'torch', 'lightning', 'optuna', 'ray', 'numpy'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
