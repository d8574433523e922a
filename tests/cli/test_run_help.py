"""`run --help`: two screens in plain words, of the pair that is named."""

import pytest

from rnnae_bench.cli import main
from rnnae_bench.cli.own_options import in_plain_words, model_options
from rnnae_bench.cli.run_help import short_help


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_it_is_short_and_plain(capsys):
    assert main(["run", "--task", "copy", "--model", "gru[hidden_size=8]", "--help"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert len(lines) < 80
    assert max(map(len, lines)) <= 80
    for noise in ("Annotated", "Literal", "Union", "Optional", "lightning.", "CONFIG", "data_seed"):
        assert noise not in text, noise
    for option in ("--seeds", "--data-seed", "--out", "--logger", "--checkpoint-every", "delay=20", "precision="):
        assert option in text, option
    # As tuned on the task, not as the class has it.
    assert "optimization.learning_rate=0.02" in text
    assert "(pytorch|orthogonal|identity)" in text


@pytest.mark.parametrize("name", ["lstm", "esn", "ngram", "vqvae"])
def test_it_names_every_option_of_the_model(name):
    text = short_help("copy:smoke", name)
    assert len(text.splitlines()) < 80
    own = [one.name for one in model_options(name)]
    assert own
    for option in own:
        assert f"\n  {option}" in text, option


def test_without_names_it_says_how_to_see_more(capsys):
    assert main(["run", "-h"]) == 0
    text = capsys.readouterr().out
    assert "Name both to see their own options" in text
    assert "--model.NAME" not in text
    assert main(["run", "--task", "copy:smoke", "--help"]) == 0
    assert "delay=2 " in capsys.readouterr().out


def test_help_all_has_the_rest(capsys):
    with pytest.raises(SystemExit) as left:
        main(["run", "--task", "copy:smoke", "--model", "gru", "--help", "all"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert "--trainer.detect_anomaly" in text
    assert "--print_config" in text
    assert "--data_seed" not in text


def test_types_in_plain_words():
    assert in_plain_words("float | None") == ("float", ())
    assert in_plain_words("str") == ("text", ())
    assert in_plain_words("Literal['a'] | int") == ("a|int", ("a",))
    assert in_plain_words("Annotated[int, Range(1, 2)]") == ("int", ())
    assert in_plain_words("dict[str, int]") == ("mapping", ())
    assert in_plain_words("a b") == ("value", ())


def test_an_unknown_name_is_refused_in_help_too(capsys):
    assert main(["run", "--task", "copy", "--model", "gruu", "--help"]) == 2
    assert "did you mean 'gru'" in capsys.readouterr().err
