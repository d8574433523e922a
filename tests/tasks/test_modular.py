"""State tracking against slow twins: a walker, Python's own arithmetic, and permutations composed one by one."""

import itertools
import math

import numpy as np
import pytest
import torch
from rnnae_tasks.modular.automata import AUTOMATA, guesses
from rnnae_tasks.modular.datamodule import ModularTask
from scipy.stats import chisquare

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.metrics import update_metrics

GROUPS = {"S3": (3, False), "A5": (5, True), "S5": (5, False)}
SIGNS = "01234+-*"


def is_even(form: tuple[int, ...]) -> bool:
    """By its cycles: one of an even number of points is a product of an odd number of swaps."""
    left, odd = set(range(len(form))), False
    while left:
        start = point = left.pop()
        while form[point] != start:
            point = form[point]
            left.remove(point)
            odd = not odd
    return not odd


def followed(group: str, tokens: list[int]) -> list[int]:
    """The value after each token, from the definition; an operator leaves the last."""
    if group == "cycle":
        return [sum(one - 1 for one in tokens[: step + 1]) % 5 for step in range(len(tokens))]
    if group == "arithmetic":
        text = "".join(SIGNS[one] for one in tokens)
        return [eval(text[: step + 1 - step % 2]) % 5 for step in range(len(tokens))]
    points, even = GROUPS[group]
    forms = sorted(form for form in itertools.permutations(range(points)) if is_even(form) or not even)
    values, images = [], [*range(points)]
    for token in tokens:
        images = [forms[token][image] for image in images]
        values.append(forms.index(tuple(images)))
    return values


def test_the_drawn_rows_are_real():
    assert followed("cycle", ["<.>".index(one) for one in ">>.<<<"]) == [1, 2, 2, 1, 0, 4]
    assert followed("arithmetic", [SIGNS.index(one) for one in "3+4*2-4"])[::2] == [3, 2, 1, 2]
    assert followed("S3", [1, 2, 0, 3, 4, 5]) == [1, 3, 3, 4, 3, 2]


@pytest.mark.parametrize("group", AUTOMATA)
def test_targets_are_the_values_of_the_definition(group):
    task = ModularTask(group, length=17, evaluation_size=40, protocol=Protocol(batch_size=40))
    for batch in (task.train_batch(5), task.evaluation_set("test"), task.evaluation_set("test@2x")):
        for tokens, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            assert followed(group, tokens) == targets
        if group == "arithmetic":
            assert batch.mask.tolist() == [[step % 2 == 0 for step in range(batch.inputs.shape[1])]] * 40
        else:
            assert batch.mask is None


@pytest.mark.parametrize("group", GROUPS)
def test_the_table_is_a_groups(group):
    automaton, (points, even) = AUTOMATA[group], GROUPS[group]
    table, size = automaton.table, automaton.tokens
    assert size == math.factorial(points) // (2 if even else 1)
    everything = torch.arange(size)
    assert torch.equal(table[0], everything)  # the identity comes first
    assert torch.equal(table[:, 0], everything)
    for lines in (table, table.T):  # each line has each element once: inverses
        assert torch.equal(lines.sort(1).values, everything.expand(size, size))
    left, right = table[table], table[:, table]  # (a b) c and a (b c), at a, b, c
    assert torch.equal(left, right)
    assert torch.equal(table, table.T) is False


@pytest.mark.parametrize("group", AUTOMATA)
def test_moves_are_uniform(group):
    automaton = AUTOMATA[group]
    tokens = automaton.draw(3000, 21, torch.Generator().manual_seed(0))
    places = [tokens[:, 0::2], tokens[:, 1::2]] if automaton.tokens_per_move == 2 else [tokens]
    for part in places:
        counts = torch.bincount(part.flatten())
        assert chisquare(counts[counts > 0]).pvalue > 0.001
    assert tokens.unique().numel() == automaton.tokens


@pytest.mark.parametrize("variant", [one for one in ModularTask.card().variants if one != "long"])
def test_the_mode_is_that_of_random_sequences(variant, agrees):
    """Values after many random moves, counted: the best fixed answer to each."""
    task = ModularTask.from_variant(variant, evaluation_size=40_000)
    batch, each = task.evaluation_set("validation"), task.automaton.tokens_per_move
    targets = batch.targets[:, ::each]
    best = torch.stack([torch.bincount(step, minlength=task.automaton.values).max() for step in targets.T]) / 40_000
    # The largest of several counts that are all alike is a little too large.
    within = 5 * math.sqrt(best[-1].item() / 40_000)
    label, method = f"modular:{variant}", "the likeliest value, counted on 40,000 sequences"
    agrees(label, "mode", "final_accuracy", best[-1].item(), method, within=within)
    agrees(label, "mode", "accuracy", best.mean().item(), method, within=within)
    agrees(label, "mode", "longest_length", 0, "below 0.99")


def test_a_groups_product_is_uniform_whatever_part_of_it_is_known(agrees):
    """All words of three: given two of the factors, the product is each of the six once."""
    words = torch.cartesian_prod(*[torch.arange(6)] * 3)
    products = AUTOMATA["S3"].run(words)[:, -1]
    for known in itertools.combinations(range(3), 2):
        groups = words[:, known[0]] * 6 + words[:, known[1]]
        counts = torch.zeros(36, 6).index_put((groups, products), torch.ones(216), accumulate=True)
        assert torch.equal(counts, torch.ones(36, 6))
    agrees("modular:long", "mode", "final_accuracy", 1 / 120, "uniform: enumeration of S3, and 120 elements")
    agrees("modular:long", "mode", "accuracy", 1 / 120, "uniform: enumeration of S3, and 120 elements")
    agrees("modular:long", "lookup", "final_accuracy", 1 / 120, "120^32 words can't have been seen")


def looked_up(group: str, moves: int, sequences: int, trials: int) -> np.ndarray:
    """How often a table of seen beginnings is right after each move, by playing: rows drawn, kept, and looked up."""
    automaton, each = AUTOMATA[group], AUTOMATA[group].tokens_per_move
    generator = torch.Generator().manual_seed(1)
    length = (moves - 1) * each + 1
    seen_rows = automaton.draw(sequences, length, generator)
    rows = automaton.draw(trials, length, generator)
    targets = automaton.run(rows)[:, ::each]
    seen = {tuple(row[: end + 1]) for row in seen_rows.tolist() for end in range(0, length, each)}
    # What becomes of a beginning: by playing it on with all continuations alike, here with a sample of them.
    right = np.zeros(moves)
    for row, target in zip(rows.tolist(), targets.tolist(), strict=True):
        longest = max((end for end in range(0, length, each) if tuple(row[: end + 1]) in seen), default=-1)
        known = longest // each + 1 if longest >= 0 else 0
        right[:known] += 1
        state = torch.tensor([row[: longest + 1]] * 400).long()
        rest = automaton.draw(400, length, generator)[:, longest + 1 :]
        played = automaton.run(torch.cat([state, rest], 1))[:, ::each]
        for move in range(known, moves):
            right[move] += torch.bincount(played[:, move]).argmax() == target[move]
    return right / trials


@pytest.mark.parametrize(("group", "moves", "sequences"), [("cycle", 9, 500), ("arithmetic", 5, 500), ("S3", 6, 500)])
def test_the_lookup_is_what_a_player_with_a_table_scores(group, moves, sequences):
    _, expected = guesses(AUTOMATA[group], moves, sequences)
    found = looked_up(group, moves, sequences, 500)
    np.testing.assert_allclose(expected, found, atol=5 * 0.5 / math.sqrt(500))


@pytest.mark.parametrize("variant", [*ModularTask.card().variants])
def test_the_lookup_of_the_card_summed_by_hand(variant, agrees):
    """The same expectation, with the walks raised to powers by numpy and the chances of meeting by Poisson's."""
    task, protocol = ModularTask.from_variant(variant), ModularTask.card().variant(variant).protocol
    automaton = task.automaton
    moves, sequences = len(range(0, task.length, automaton.tokens_per_move)), protocol.max_steps * protocol.batch_size
    first, later = automaton.moves
    met = [1 - math.exp(-sequences / (first * later**move)) for move in range(moves)]
    walk, start, values = automaton.walk.numpy(), automaton.first.numpy(), automaton.value_of.numpy()
    readout = np.eye(automaton.values)[values]
    states = [start @ np.linalg.matrix_power(walk, move) for move in range(moves)]
    bests = [(np.linalg.matrix_power(walk, ago) @ readout).max(1) for ago in range(moves)]
    right = [
        met[move] + sum((met[seen] - met[seen + 1]) * states[seen] @ bests[move - seen] for seen in range(move))
        for move in range(moves)
    ]
    method = "sum over the longest beginning met, Poisson"
    agrees(f"modular:{variant}", "lookup", "final_accuracy", right[-1], method, rel=1e-3)
    agrees(f"modular:{variant}", "lookup", "accuracy", np.mean(right), method, rel=1e-3)
    agrees(f"modular:{variant}", "lookup", "longest_length", 0, "below 0.99")


@pytest.mark.parametrize("group", AUTOMATA)
def test_walks_are_those_of_the_definition(group):
    """The chances of a move from state to state are those counted over all first two moves."""
    automaton = AUTOMATA[group]
    first, later = automaton.moves
    moves = [[*range(first)]] + ([[5, 6, 7], [*range(5)]] if group == "arithmetic" else [[*range(later)]])
    words = torch.cartesian_prod(*map(torch.tensor, moves))
    values = automaton.run(words)[:, -1]
    counted = torch.bincount(values, minlength=automaton.values) / len(words)
    readout = torch.nn.functional.one_hot(automaton.value_of, automaton.values).double()
    torch.testing.assert_close(automaton.first @ automaton.walk @ readout, counted.double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(automaton.walk.sum(1), torch.ones(len(automaton.walk)).double())


def test_a_perfect_player_scores_one_and_a_slip_counts_where_it_is():
    task = ModularTask("arithmetic", length=5, evaluation_size=2)
    batch = task.evaluation_set("test")
    answer = torch.nn.functional.one_hot(batch.targets, 5).float() * 50
    metrics = task.metrics()
    update_metrics(metrics, answer, batch)
    assert metrics.compute()["final_accuracy"] == metrics.compute()["accuracy"] == 1
    assert task.loss(answer, batch) < 1e-6
    answer[0, 2], answer[1, 4] = -answer[0, 2], -answer[1, 4]
    answer[:, 1::2] = 0  # after an operator nothing is asked
    metrics.reset()
    update_metrics(metrics, answer, batch)
    assert metrics.compute()["final_accuracy"] == 0.5
    assert metrics.compute()["accuracy"].item() == pytest.approx(4 / 6)
    assert task.example_scores("final_accuracy", answer, batch).tolist() == [1, 0]
    assert task.example_scores("accuracy", answer, batch).tolist() == pytest.approx([2 / 3, 2 / 3])


def test_longer_sets_and_the_longest_length():
    lengths = [ModularTask("S3").evaluation_length(name) for name in ModularTask.evaluation_sets[1:]]
    assert lengths == [32, 64, 128, 256, 512]
    task = ModularTask("arithmetic", length=33, evaluation_size=2)
    assert [task.evaluation_set(name).inputs.shape[1] for name in task.evaluation_sets[1:]] == [33, 65, 131, 263, 527]
    measured = {name: {"final_accuracy": 1.0} for name in task.evaluation_sets[1:]}
    assert task.over_sets(measured) == {"longest_length": 527}
    assert task.over_sets({**measured, "test@2x": {"final_accuracy": 0.9}}) == {"longest_length": 33}


def test_the_needed_lag_is_from_the_first_token_to_the_last_value():
    for variant in ModularTask.card().variants.values():
        assert ModularTask.from_variant(variant.name).spec.scored_steps[0] == variant.needed_lag


@pytest.mark.parametrize(
    "setting", [{"group": "A4"}, {"group": ""}, {"length": 0}, {"length": -3}, {"evaluation_size": 0}], ids=str
)
def test_bad_settings_are_refused_by_name(setting):
    with pytest.raises(UserError, match=rf"{next(iter(setting))} is '?{next(iter(setting.values()))}"):
        ModularTask(**setting)


def test_an_expression_that_ends_with_an_operator_is_refused():
    with pytest.raises(UserError, match="length is 32; it must be odd"):
        ModularTask("arithmetic", length=32)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="no baseline 'coin'; it has mode, lookup"):
        ModularTask().baseline("coin")
