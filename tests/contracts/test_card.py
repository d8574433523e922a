"""Task cards: every registered task has a whole one, and a bad one is refused with file, line and key."""

import pytest

from rnnae_bench.contracts.card import Primary, load_card
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.registry import models, tasks

CARD = """\
title: A task
measures: Something
licence: none
sources:
  - Somebody (1997)
variants:
  smoke: &variant
    summary: Short
    data: {delay: 2}
    protocol: {max_steps: 10, batch_size: 4, evaluate_every: 5}
    primary: {metric: accuracy, direction: maximize, floor: chance, ceiling: 1.0, solved: 0.9}
    baselines:
      chance:
        values: {accuracy: 0.5}
        source: formula
  standard: *variant
"""


@pytest.mark.parametrize("name", tasks().names())
def test_every_registered_task_has_a_card_and_a_readme(name):
    task = tasks().get(name).load()
    card = task.card()
    assert card.task == name
    readme = card.path.with_name("README.md")
    assert readme.is_file(), f"{readme} is missing: the card for people"
    missing = [variant for variant in card.variants if variant not in readme.read_text(encoding="utf-8")]
    assert not missing, f"{readme} does not mention the variants {missing}"
    unknown = card.tuned.keys() - set(models().names())
    assert not unknown, f"{card.path} has tuned hyper-parameters of unknown models {sorted(unknown)}"


def test_a_card_is_read_as_it_stands(tmp_path):
    path = tmp_path / "task.yaml"
    path.write_text(CARD)
    card = load_card(path)
    assert (card.path, card.title, card.sources) == (path, "A task", ["Somebody (1997)"])
    assert (card.tuning, card.tuned) == ("", {})
    smoke = card.variant("smoke")
    assert smoke.data == {"delay": 2}
    assert (smoke.protocol.max_steps, smoke.protocol.batch_size, smoke.protocol.evaluate_every) == (10, 4, 5)
    assert smoke.protocol.evaluation_batch_size == 1000
    assert smoke.primary == Primary("accuracy", "maximize", "chance", ceiling=1.0, solved=0.9)
    assert smoke.baselines["chance"].values == {"accuracy": 0.5}
    with pytest.raises(UserError, match="has no variant 'huge'; it has smoke, standard"):
        card.variant("huge")


@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        ("title: A task\n", "", r":1: the file: misses title"),
        ("  standard: *variant\n", "", r":7: variants: misses standard"),
        ("licence: none", "licence: none\ncolour: red", r":1: the file: must not contain .*'colour'"),
        ("max_steps: 10", "max_steps: 0", r":10: variants\.\w+\.protocol.max_steps: must be bigger than or equal to 1"),
        ("max_steps: 10", "max_steps: ten", r":10: variants\.\w+\.protocol.max_steps: must be integer"),
        ("direction: maximize", "direction: up", r":11: variants\.\w+\.primary.direction: must be one of"),
        ("floor: chance", "floor: luck", r":11: variants\.\w+\.primary.floor: 'luck' is not one of"),
        ("metric: accuracy", "metric: loss", r":11: .*'chance' gives no value for 'loss'"),
        ("ceiling: 1.0", "ceiling: 0.5", r":11: .*floor and ceiling are equal"),
        ("summary: Short", "summary: Short\n    needed_lag: -1", r":9: variants\.\w+\.needed_lag: must be bigger"),
        ("summary: Short", "summary: Short\n    data_version: 2", r":9: variants\.\w+\.data_version: must be string"),
        ("summary: Short", "summary: Short\n    tuned: {gru: 3}", r":9: variants\.\w+\.tuned\.gru: must be object"),
        ("title: A task", "title: [", r":\d+: not YAML"),
        ("licence: none", "title: again", r":3: not YAML: 'title' is given twice"),
    ],
)
def test_a_bad_card_is_refused_with_line_and_key(tmp_path, old, new, refusal):
    path = tmp_path / "task.yaml"
    path.write_text(CARD.replace(old, new))
    with pytest.raises(UserError, match=rf"^{path}{refusal}"):
        load_card(path)


@pytest.mark.parametrize("bad", ["smoke", "standard", "long"])
def test_a_bad_variant_leaves_the_others_usable(tmp_path, bad):
    card, variant = CARD.split("  smoke: &variant\n")
    variant = variant.partition("  standard")[0]
    texts = dict.fromkeys(("smoke", "standard", "long"), variant)
    texts[bad] = variant.replace("max_steps: 10", "max_steps: 0")
    path = tmp_path / "task.yaml"
    path.write_text(card + "".join(f"  {name}:\n{text}" for name, text in texts.items()))
    found = load_card(path)
    assert found.variants.keys() == texts.keys() - {bad}
    line = path.read_text().splitlines().index("    protocol: {max_steps: 0, batch_size: 4, evaluate_every: 5}") + 1
    reason = f"{path}:{line}: variants.{bad}.protocol.max_steps: must be bigger than or equal to 1"
    assert found.broken == {bad: reason}
    with pytest.raises(UserError, match=f"^the variant '{bad}' of task '{tmp_path.name}' is broken: {reason}$"):
        found.variant(bad)


def test_several_bad_variants_leave_the_last_usable(tmp_path):
    card, variant = CARD.split("  smoke: &variant\n")
    variant = variant.partition("  standard")[0]
    bad = variant.replace("max_steps: 10", "max_steps: 0")
    path = tmp_path / "task.yaml"
    texts = {"standard": bad, "smoke": bad, "long": variant}
    path.write_text(card + "".join(f"  {name}:\n{text}" for name, text in texts.items()))
    found = load_card(path)
    assert found.variants.keys() == {"long"}
    lines = [line for line, text in enumerate(path.read_text().splitlines(), start=1) if "max_steps: 0" in text]
    for name, line in zip(("standard", "smoke"), lines, strict=True):
        assert found.broken[name].startswith(f"{path}:{line}: variants.{name}.protocol.max_steps: ")


def test_a_missing_card_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the task card .*task\.yaml: No such file"):
        load_card(tmp_path / "task.yaml")


@pytest.mark.parametrize(
    ("old", "new", "refusal"),
    [
        ("ceiling: 1.0", "ceiling: luck", r":11: .*ceiling: 'luck' is not one of"),
        ("ceiling: 1.0", "ceiling: chance", r":11: .*floor and ceiling are equal"),
        ("summary: Short", "summary: Short\n    superseded_by: tiny", r":9: .*'tiny' is not another variant"),
    ],
)
def test_what_a_card_names_must_be_there(tmp_path, old, new, refusal):
    path = tmp_path / "task.yaml"
    path.write_text(CARD.replace(old, new))
    with pytest.raises(UserError, match=rf"^{path}{refusal}"):
        load_card(path)


def test_a_variant_does_not_supersede_itself(tmp_path):
    path = tmp_path / "task.yaml"
    path.write_text(CARD.replace("summary: Short", "summary: Short\n    superseded_by: smoke"))
    card = load_card(path)
    assert list(card.variants) == ["standard"]
    assert "superseded_by: 'smoke' is not another variant" in card.broken["smoke"]


def test_a_variant_has_its_own_lag_version_and_tuned_values(tmp_path):
    path = tmp_path / "task.yaml"
    own = "\n    data_version: May\n    needed_lag: 30\n    tuned: {gru: {layers: 2}}"
    text = CARD.replace("summary: Short", f"summary: Short{own}").replace(
        "standard: *variant", "standard:\n    <<: *variant"
    )
    text = text.replace("<<: *variant", "<<: *variant\n    tuned: {}\n    needed_lag: null")
    path.write_text(f"{text}tuned: {{gru: {{layers: 1}}, lstm: {{layers: 3}}}}\n")
    card = load_card(path)
    assert (card.variant("smoke").data_version, card.variant("smoke").needed_lag) == ("May", 30)
    assert card.variant("standard").needed_lag is None
    assert card.tuned_on("smoke", "gru") == {"layers": 2}
    assert card.tuned_on("standard", "gru") == {"layers": 1}
    assert card.tuned_on("smoke", "lstm") == {"layers": 3}
    assert card.tuned_on("smoke", "rnn") == {}


@pytest.mark.parametrize(
    ("floor", "ceiling", "scores"),
    [("mean", 0.0, (0.0, 0.5)), (2.0, "bayes", (0.0, 2 / 3)), ("mean", "bayes", (0.0, 2 / 3)), (2.0, 0.0, (0.0, 0.5))],
)
def test_floor_and_ceiling_are_numbers_or_baselines(floor, ceiling, scores):
    primary = Primary("mse", "minimize", floor, ceiling, solved=0.6)
    scale = primary.scale({"mean": {"mse": 2.0}, "bayes": {"mse": 0.5}})
    assert tuple(map(scale.score, (2.0, 1.0))) == pytest.approx(scores)


@pytest.mark.parametrize(("value", "score", "solved"), [(0.5, 0.0, False), (0.9, 0.8, True), (1.0, 1.0, True)])
def test_the_score_of_a_metric_to_maximize(value, score, solved):
    primary = Primary("accuracy", "maximize", "chance", ceiling=1.0, solved=0.9)
    assert primary.scale({"chance": {"accuracy": 0.5}}).score(value) == pytest.approx(score)
    assert primary.is_solved(value) is solved


@pytest.mark.parametrize(("value", "score", "solved"), [(2.0, 0.0, False), (0.1, 0.95, True), (4.0, -1.0, False)])
def test_the_score_of_a_metric_to_minimize(value, score, solved):
    primary = Primary("mse", "minimize", "mean", ceiling=0.0, solved=0.1)
    assert primary.scale({"mean": {"mse": 2.0}}).score(value) == pytest.approx(score)
    assert primary.is_solved(value) is solved
