"""``list`` and ``show`` for people and for programs."""

import json
import re

import pytest
from rnnae_tasks.copy.datamodule import CopyTask

from rnnae_bench.cli import main
from rnnae_bench.cli.table import print_table
from rnnae_bench.plugins.registry import models, tasks


def output(capsys, *arguments):
    assert main(list(arguments)) == 0
    return plain(capsys)


def plain(capsys):
    """What was printed, without the terminal's escape sequences."""
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


@pytest.fixture
def terminal(monkeypatch):
    """Make standard output a terminal of the given width."""

    def terminal(width):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")

    return terminal


def test_list_as_json_has_every_name_and_stable_keys(capsys):
    entries = json.loads(output(capsys, "list", "--json"))
    keys = ["kind", "name", "summary", "family", "variants"]
    keys += ["distribution", "version", "status", "reason", "broken_variants"]
    assert all(list(entry) == keys for entry in entries)
    assert sorted(entry["name"] for entry in entries) == sorted(models().names() + tasks().names())
    families = [entry["family"] for entry in entries if entry["kind"] == "task"]
    assert all(families)
    assert families == sorted(families)
    copy = next(entry for entry in entries if entry["name"] == "copy")
    assert copy["summary"] == CopyTask.card().title
    assert copy["variants"] == list(CopyTask.card().variants)


def test_list_can_be_narrowed_to_a_kind(capsys):
    assert {entry["kind"] for entry in json.loads(output(capsys, "list", "models", "--json"))} == {"model"}
    assert {entry["kind"] for entry in json.loads(output(capsys, "list", "tasks", "--json"))} == {"task"}
    text = output(capsys, "list", "tasks")
    assert "copy" in text
    assert "lstm" not in text


def test_list_for_people_gives_each_name_a_line_when_piped(capsys):
    lines = {line.split()[0]: line for line in output(capsys, "list").splitlines() if line.strip()}
    for registry in (models(), tasks()):
        for handle in registry.handles():
            assert f"{handle.distribution} {handle.version}" in lines[handle.name]
            assert lines[handle.name].endswith("ok"), lines[handle.name]


def test_show_model_as_json(capsys):
    shown = json.loads(output(capsys, "show", "model", "gru", "--json"))
    assert shown["class"] == "rnnae_bench.models.recurrent:GRU"
    assert shown["distribution"] == "rnnae-bench"
    parameters = {each["name"]: each for each in shown["hyperparameters"]}
    assert "spec" not in " ".join(parameters)
    assert parameters["hidden_size"] == {
        "name": "hidden_size",
        "type": "int",
        "required": False,
        "default": 128,
        "description": "Numbers in the state of one layer and direction.",
    }
    assert parameters["optimization.decay"]["default"] == "cosine"
    cards = {name: tasks().get(name).load().card() for name in tasks().names()}
    of_variants = {f"{name}:{one.name}": one.tuned for name, card in cards.items() for one in card.variants.values()}
    tuned = {name: card.tuned for name, card in cards.items()} | of_variants
    assert shown["tuned"] == {label: values["gru"] for label, values in tuned.items() if "gru" in values}


def test_show_task_as_json(capsys):
    shown = json.loads(output(capsys, "show", "task", "copy", "--json"))
    card = CopyTask.card()
    assert shown["title"] == card.title
    assert shown["sources"] == card.sources
    assert list(shown["variants"]) == list(card.variants)
    smoke = shown["variants"]["smoke"]
    assert smoke["data"] == card.variant("smoke").data
    assert smoke["protocol"]["max_steps"] == card.variant("smoke").protocol.max_steps
    assert smoke["floor"] == smoke["baselines"]["memoryless"]["values"]["recall_accuracy"] == 0.125
    names = [option["name"] for option in shown["options"]]
    assert names[:4] == ["delay", "recall", "symbols", "evaluation_size"]
    assert "protocol.max_steps" in names
    assert "data_seed" not in names


def test_show_task_may_be_narrowed_to_a_variant(capsys):
    shown = json.loads(output(capsys, "show", "task", "copy:smoke", "--json"))
    assert list(shown["variants"]) == ["smoke"]
    text = output(capsys, "show", "task", "copy:smoke")
    assert "memoryless" in text
    delay = next(line for line in text.splitlines() if line.startswith("delay"))
    assert delay.split()[:3] == ["delay", "int", "2"]


def test_show_finds_the_kind_where_one_alone_has_the_name(capsys):
    for kind, name in (("model", "gru"), ("task", "copy"), ("task", "copy:smoke")):
        assert output(capsys, "show", name, "--json") == output(capsys, "show", kind, name, "--json")
    assert output(capsys, "show", "gru[layers=2]") == output(capsys, "show", "gru")


def test_a_name_of_both_kinds_has_to_be_told_apart(install, capsys):
    install("both", {"both.py": 'class Both:\n    """A model."""\n'}, models={"copy": "both:Both"})
    assert main(["show", "copy"]) == 2
    assert "'copy' is a model and a task; write show model copy, or show task copy" in capsys.readouterr().err
    assert output(capsys, "show", "model", "copy").startswith("model copy\n")


def test_show_for_people_has_options_and_docstring(capsys):
    text = output(capsys, "show", "model", "lstm")
    assert "Hochreiter & Schmidhuber 1997" in text
    forget = next(line for line in text.splitlines() if line.startswith("forget_bias"))
    assert forget.split()[:3] == ["forget_bias", "float", "1.0"]
    assert "optimization.learning_rate" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "model", "gruu"], "did you mean 'gru'?"),
        (["show", "lstmm"], "did you mean 'lstm' or"),
        (["show", "copi"], "did you mean 'copy'"),
        (["show", "gru:smoke"], "there is no model, task or probe 'gru:smoke'"),
        (["show", "task", "cop"], "did you mean 'copy'?"),
        (["show", "task", "copy:huge"], "has no variant 'huge'; it has smoke"),
        (["show", "task", "copy:"], "write NAME or NAME:VARIANT"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(capsys, arguments, message):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("arguments", [["list", "everything"], ["show"], ["show", "recipe", "gru"], ["show", "model"]])
def test_wrong_usage_exits_with_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: rnnae-bench" in capsys.readouterr().err


COLUMNS = ["name", "text", "value"]
ROWS = [["alpha", "one two three four five six seven eight nine ten", "1"], ["beta", "", "23"]]


def test_a_piped_table_is_not_wrapped(capsys):
    print_table(COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "name   text                                              value",
        "alpha  one two three four five six seven eight nine ten  1",
        "beta                                                     23",
    ]


def test_a_table_wraps_between_words(capsys, terminal):
    terminal(45)
    print_table(COLUMNS, ROWS)
    lines = plain(capsys).splitlines()
    assert max(map(len, lines)) <= 45
    assert lines[1] == "alpha  one two three four five six    1"
    assert lines[2] == "       seven eight nine ten"


def test_a_table_that_does_not_fit_becomes_blocks(capsys, terminal):
    terminal(30)
    print_table(COLUMNS, ROWS)
    assert plain(capsys).splitlines() == [
        "alpha",
        "  text   one two three four",
        "         five six seven eight",
        "         nine ten",
        "  value  1",
        "beta",
        "  value  23",
    ]


def test_markup_is_printed_as_it_is(capsys):
    print_table(["name"], [["list[int] [bold]x[/bold] :smile:"]])
    assert "list[int] [bold]x[/bold] :smile:" in capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 90])
@pytest.mark.parametrize("arguments", [["list"], ["show", "model", "gru"], ["show", "task", "copy"]])
def test_no_word_is_cut_on_a_narrow_terminal(capsys, terminal, arguments, width):
    piped = {word for word in output(capsys, *arguments).split() if len(word) < 30}
    terminal(width)
    narrow = set(output(capsys, *arguments).split())
    headings_that_blocks_leave_out = {"models", "tasks", "name", "variant"}
    assert piped - narrow <= headings_that_blocks_leave_out
