"""Settings from what a user names, counted and compared with products written out by hand."""

import itertools
import shlex

import pytest

from rnnae_bench.errors import UserError
from rnnae_bench.options.nested import flatten, nest
from rnnae_bench.sweeps.executors.job import Setting
from rnnae_bench.sweeps.grid import Axes, label, run_command, settings


def grid(tasks=("copy",), models=("gru",), **axes) -> list[Setting]:
    return settings(Axes(tasks, models, **axes))


def test_a_name_alone_is_one_setting_at_its_defaults():
    assert grid() == [Setting("copy:standard", "gru", {})]


def test_options_repeat_as_a_union_and_lists_multiply():
    found = grid(
        ["copy", "names:smoke[protocol.max_steps=200]"],
        ["gru[hidden_size=[64,128],layers=2]", "lstm"],
        precisions=["32", "bf16-mixed"],
        devices=[1, 2],
        strategy="ddp",
    )
    tasks = [("copy:standard", None), ("names:smoke", {"protocol": {"max_steps": 200}})]
    models = [("gru", {"hidden_size": size, "layers": 2}) for size in (64, 128)] + [("lstm", None)]
    trainers = [
        None,
        {"strategy": "ddp", "devices": 2},
        {"precision": "bf16-mixed"},
        {"strategy": "ddp", "devices": 2, "precision": "bf16-mixed"},
    ]
    expected = []
    for (task, data), (model, options), trainer in itertools.product(tasks, models, trainers):
        parts = {"task": data, "model": options, "trainer": trainer}
        expected.append(Setting(task, model, {key: value for key, value in parts.items() if value}))
    assert found == expected
    assert len(found) == 24


def test_combinations_are_all_there_the_last_option_fastest():
    found = grid(models=["gru[hidden_size=[1,2],layers=[1,2,3],bidirectional=[true,false]]"])
    got = [tuple(one.overrides["model"].values()) for one in found]
    assert got == list(itertools.product([1, 2], [1, 2, 3], [True, False]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dense_ae[hidden_sizes=[[128,64]]]", [{"hidden_sizes": [128, 64]}]),
        ("dense_ae[hidden_sizes=[[],[64]]]", [{"hidden_sizes": []}, {"hidden_sizes": [64]}]),
        ("gru[optimization.learning_rate=[1e-3,3E-3]]", [{"optimization": {"learning_rate": x}} for x in (1e-3, 3e-3)]),
        ("gru[optimization={clip: 0.5, decay: none}]", [{"optimization": {"clip": 0.5, "decay": "none"}}]),
        (" gru [ layers = 2 , initialization = 'identity' ] ", [{"layers": 2, "initialization": "identity"}]),
        ('gru[initialization="a,b]"]', [{"initialization": "a,b]"}]),
        ("gru[x=null,y=off,z=010]", [{"x": None, "y": "off", "z": 10}]),
    ],
)
def test_values_are_yaml(text, expected):
    assert [one.overrides["model"] for one in grid(models=[text])] == expected


def test_a_mapping_says_the_same_as_brackets():
    mapping = {"name": "gru", "hidden_size": [64, 128], "optimization": {"clip": [0.5, 1.0]}, "through_time.window": 5}
    text = "gru[hidden_size=[64,128],optimization.clip=[0.5,1.0],through_time.window=5]"
    assert grid(models=[mapping]) == grid(models=[text])
    assert len(grid(models=[mapping])) == 4


def test_what_is_named_twice_runs_once_and_first_come_is_first():
    models = ["lstm", "gru[layers=[2,1,2]]", "gru[layers=1]"]
    found = grid(["copy", "copy:standard"], models, precisions=["32", "32-true"])
    assert [label(one) for one in found] == [
        "copy:standard lstm",
        "copy:standard gru[layers=2]",
        "copy:standard gru[layers=1]",
    ]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("gru[hidden_size=64", r"the brackets do not match, '\]' is missing"),
        ("gru[hidden_size=[64]", r"the brackets do not match, '\]' is missing"),
        ("gru[hidden_size={a: 1]", r"the brackets do not match, '\}' is missing"),
        ("gru[initialization='a]", "the quote ' is not closed"),
        ("gru]", "closes none"),
        ("gru[layers=1]x", "'x' follows the closing bracket"),
        ("gru[]", "is no option; write KEY=VALUE"),
        ("gru[layers=1,]", "is no option; write KEY=VALUE"),
        ("gru[layers]", "'layers' is no option; write KEY=VALUE"),
        ("gru[layers=]", "'layers' has no value; write layers=VALUE"),
        ("gru[layers=[]]", "the grid is empty: 'layers' has no value"),
        ("gru[layers=1,layers=2]", r"'layers' is given twice; for several values write layers=\[A,B\]"),
        ("gru[optimization={clip: 1},optimization.clip=2]", "'optimization.clip' is given twice"),
        ("gru[optimization=3,optimization.clip=2]", "'optimization.clip' is given twice, as an option and as"),
        ("gru[optimization={clip: 1, clip: 2}]", "is not YAML: 'clip' is given twice"),
        ("gru[layers=@]", "the value of 'layers', @, is not YAML"),
        ("gruu", "there is no model 'gruu'; did you mean 'gru'"),
        ({"hidden_size": 3}, "a model written as a mapping needs its name"),
        ({"name": "gru", "layers": []}, "the grid is empty: 'layers' has no value"),
    ],
)
def test_a_mistake_is_one_line(models, message):
    with pytest.raises(UserError, match=message) as caught:
        grid(models=[models])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"tasks": []}, "the grid is empty: no task is given"),
        ({"precisions": []}, "the grid is empty: no precision is given"),
        ({"tasks": ["cpy"]}, "there is no task 'cpy'; did you mean 'copy'"),
        ({"tasks": ["copy:a b"]}, "is not a task; write NAME or NAME:VARIANT"),
        ({"precisions": ["bf16-mixd"]}, "there is no precision 'bf16-mixd'; did you mean bf16-mixed"),
        ({"devices": [0]}, "--devices is 0; it must be above 0"),
    ],
)
def test_an_axis_that_cannot_be_is_one_line(axes, message):
    with pytest.raises(UserError, match=message):
        grid(**axes)


def test_the_run_command_of_a_setting_is_parsed_back_to_it():
    from rnnae_bench.trial.pair import Pair

    text = "dense_ae[hidden_sizes=[[128,64]],activation=tanh,optimization.clip=1e-5]"
    (setting,) = grid(["denoise:smoke[protocol.max_steps=3]"], [text], precisions=["bf16"])
    pair, words = Pair("denoise:smoke", "dense_ae"), shlex.split(run_command(setting))
    assert words[:6] == ["rnnae-bench", "run", "--task", "denoise:smoke", "--model", "dense_ae"]
    assert pair.options(pair.parse(words[6:])) == pair.resolve(setting.overrides) != pair.resolve({})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("limit=.inf", "--model.limit .inf"),
        ("limit=-.inf", "--model.limit=-.inf"),
        ("shift=-2", "--model.shift=-2"),
        ("name='1e3'", "--model.name '\"1e3\"'"),
    ],
)
def test_a_value_is_written_as_it_is_read(text, words):
    (setting,) = grid(["copy:smoke"], [f"gru[{text}]"])
    assert run_command(setting) == f"rnnae-bench run --task copy:smoke --model gru {words}"
    assert label(setting).endswith(f"gru[{text}]".replace("'1e3'", '"1e3"'))


def test_flat_and_nested_are_inverse():
    nested = {"a": {"b": {"c": 1}, "d": [1, 2]}, "e": {}}
    assert nest(flatten(nested)) == nested
