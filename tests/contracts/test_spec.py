"""What a spec says of a task, what it refuses, and what it makes of a batch's steps."""

from dataclasses import replace

import pytest
import torch

from rnnae_bench import Batch, Classes, Images, Static, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.errors import UserError

TOKENS = TaskSpec("t", Tokens(10, 8), Classes(10), "every step", causal=False)
IMAGE = Images(1, 4, 6)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (TOKENS, "8 steps of 10 symbols -> one of 10 classes, every step"),
        (
            replace(TOKENS, code_limit=4),
            "8 steps of 10 symbols -> one of 10 classes, every step, through a code of at most 4 numbers",
        ),
        (
            replace(TOKENS, outputs=Classes(11, end=10), predicts="own length", output_length=9),
            "8 steps of 10 symbols -> one of 11 classes (10 ends), own length of at most 9 steps",
        ),
        (TaskSpec("t", Static(4), Classes(3), "last step", False), "4 real numbers without time -> one of 3 classes"),
    ],
)
def test_a_spec_reads_as_a_sentence(spec, text):
    assert str(spec) == text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"predicts": "own length"}, "output_length None"),
        ({"output_length": 3}, "given there and only there"),
        ({"predicts": "own length", "output_length": 0}, "output_length is 0"),
        ({"outputs": Classes(9, end=8)}, "for outputs of their 'own length'"),
        ({"outputs": Classes(9, end=9), "predicts": "own length", "output_length": 3}, "is one of them"),
        ({"outputs": IMAGE, "predicts": "own length", "output_length": 3}, "images of their own length"),
        ({"inputs": Static(4)}, "inputs without time"),
        ({"inputs": Static(4), "predicts": "last step", "variable_length": True}, "inputs without time"),
        ({"code_limit": 0}, "code_limit is 0"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused_in_a_line(changes, reason):
    with pytest.raises(UserError, match=reason) as refused:
        replace(TOKENS, **changes)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (TOKENS, True),
        (replace(TOKENS, causal=True), False),
        (replace(TOKENS, predicts="last step"), False),
        (replace(TOKENS, outputs=Classes(9)), False),
        (replace(TOKENS, inputs=Vectors(3, 8), outputs=Values(3)), True),
        (replace(TOKENS, inputs=Static(3), outputs=Values(3), predicts="last step"), True),
        (replace(TOKENS, inputs=IMAGE, outputs=IMAGE), True),
        (replace(TOKENS, inputs=IMAGE), False),
    ],
)
def test_what_an_autoencoder_can_reconstruct(spec, wanted):
    assert spec.reconstructs == wanted


def test_a_batch_of_three_fields_is_one_whose_other_fields_are_none():
    batch = Batch(torch.zeros(2, 8), torch.zeros(2), torch.tensor([3, 8]))
    assert batch.mask is batch.target_lengths is None
    assert batch.rows(slice(1, 2)).lengths.tolist() == [8]


def test_scored_steps_are_those_of_spec_lengths_and_mask():
    spec = replace(TOKENS, inputs=Tokens(10, 4), variable_length=True, scored_steps=(2, 4))
    inputs = torch.zeros(3, 4, dtype=torch.long)
    batch = Batch(inputs, inputs, torch.tensor([1, 3, 4]))
    # A sequence that ends before the scored steps is scored at its last, as the probes have it.
    assert batch.scored(spec).int().tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 1], [1, 1, 0, 1]]).bool()
    assert batch._replace(mask=mask).scored(spec).int().tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    own = replace(spec, predicts="own length", output_length=5, scored_steps=None)
    targets = Batch(inputs, torch.zeros(3, 2), batch.lengths, target_lengths=torch.tensor([2, 1, 2]))
    assert targets.scored(own).int().tolist() == [[1, 1], [1, 0], [1, 1]]
    assert Batch(torch.rand(2, 1, 4, 6), torch.rand(2, 1, 4, 6)).scored(replace(TOKENS, inputs=IMAGE)).shape == (2, 4)
    with pytest.raises(ValueError, match="once a row"):
        batch.scored(replace(spec, predicts="last step", scored_steps=None))
