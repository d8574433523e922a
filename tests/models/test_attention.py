"""Models that attend: softmax by numpy, caches against all steps at once, and what each can't see."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench.contracts.spec import Classes, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.contracts.state_size import Growing
from rnnae_bench.contracts.stepping import parts_of, unroll
from rnnae_bench.errors import UserError
from rnnae_bench.models.attention import attention
from rnnae_bench.models.attention_gru import AttentionGRU
from rnnae_bench.models.encoder_decoder import Seq2Seq
from rnnae_bench.models.transformer import Transformer, rotated

SPEC = TaskSpec("numbers", Vectors(3, 10), Values(2), "every step", causal=True)
WORDS = TaskSpec("words", Tokens(5, 7), Classes(4), "own length", False, variable_length=True, output_length=3)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def softmax(scores):
    exponents = np.exp(scores - scores.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


@pytest.mark.parametrize("score", ["additive", "dot"])
def test_weights_are_the_softmax_of_the_scores(score):
    model = attention(score, 3, 4).double()
    queries, memory = torch.randn(2, 5, 3).double(), torch.randn(2, 6, 4).double()
    hidden = torch.rand(2, 5, 6) < 0.3
    hidden[..., 0] = False
    w = {name: weight.detach().numpy() for name, weight in model.named_parameters()}
    q, m = queries.numpy(), memory.numpy()
    if score == "dot":
        scores = (q @ w["of_query.weight"].T) @ m.transpose(0, 2, 1) / 2
    else:
        inner = (q @ w["of_query.weight"].T + w["of_query.bias"])[:, :, None] + (m @ w["of_memory.weight"].T)[:, None]
        scores = np.tanh(inner) @ w["score.weight"][0]
    expected = softmax(np.where(hidden.numpy(), -np.inf, scores))
    found = model.weights(queries, memory, hidden)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(model(queries, memory, hidden).detach().numpy(), expected @ m, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("positions", ["rotary", "none"])
@pytest.mark.parametrize("time", [1, 2, 63])
def test_the_cache_gives_what_all_steps_at_once_give(positions, time):
    """Outputs, gradients of inputs and weights, and the final state, going on from steps that were read before."""
    model = Transformer(SPEC, hidden_size=8, heads=2, positions=positions).double()
    inputs = torch.randn(2, time, 3, dtype=torch.float64, requires_grad=True)
    start = unroll(model.step, model.initial_state(2), torch.randn(2, 4, 3, dtype=torch.float64))[1]
    ways = (model.resume(inputs, start), unroll(model.step, start, inputs))
    weights = torch.randn(ways[0][0].shape, dtype=torch.float64)
    wanted = [inputs, *model.layers.parameters()]
    gradients = [torch.autograd.grad((outputs * weights).sum(), wanted, retain_graph=True) for outputs, _ in ways]
    torch.testing.assert_close(ways[0][0], ways[1][0], rtol=1e-9, atol=1e-9)
    for (name, one), (same, other) in zip(*(parts_of(state) for _, state in ways), strict=True):
        assert name == same
        assert one.shape[2] == time + 4
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_an_attention_layer_follows_its_equation():
    mixer = Transformer(SPEC, hidden_size=6, heads=3, positions="none").double().layers[0].mixer
    x = torch.randn(1, 5, 6, dtype=torch.float64)
    found = mixer(x, {name: part.double() for name, part in mixer.initial_state(1).items()})[0][0].detach().numpy()
    both = x[0].numpy() @ mixer.into.weight.detach().numpy().T + mixer.into.bias.detach().numpy()
    q, k, v = np.split(both, 3, axis=1)
    read = np.zeros((5, 6))
    for head in range(3):
        own = slice(2 * head, 2 * head + 2)
        for t in range(5):
            weights = softmax(q[t, own] @ k[: t + 1, own].T / np.sqrt(2))
            read[t, own] = weights @ v[: t + 1, own]
    expected = read @ mixer.out.weight.detach().numpy().T + mixer.out.bias.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_turned_queries_and_keys_see_their_distance_alone():
    q, k = torch.randn(2, 1, 1, 8, dtype=torch.float64)
    scores = [(rotated(q, place + 3) * rotated(k, place)).sum().item() for place in (0, 5, 1000)]
    assert scores == pytest.approx([scores[0]] * 3, rel=1e-9)
    # Complex numbers, pair by pair, turned by t 10000^(-2 i / 8).
    pairs = torch.view_as_complex(q[0, 0].view(4, 2)) * torch.polar(
        torch.ones(4, dtype=torch.float64), 7 * 10_000.0 ** -(torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    )
    torch.testing.assert_close(rotated(q, 7)[0, 0], torch.view_as_real(pairs).flatten().unsqueeze(0)[0])


@pytest.mark.parametrize("kind", [Transformer, AttentionGRU])
def test_what_stands_beyond_the_end_changes_nothing(kind):
    spec = TaskSpec("words", Tokens(5, 9), Classes(3), "last step", causal=False, variable_length=True)
    model = kind(spec, hidden_size=8).eval()
    inputs, lengths = torch.randint(5, (3, 9)), torch.tensor([4, 9, 1])
    padded = inputs.clone()
    padded[0, 4:], padded[2, 1:] = 0, 4
    torch.testing.assert_close(model(inputs, lengths), model(padded, lengths))
    torch.testing.assert_close(model(inputs[:1, :4]), model(inputs, lengths)[:1])


@pytest.mark.parametrize("score", ["additive", "dot"])
def test_a_gru_reads_a_mean_of_its_states_so_far(score):
    model = AttentionGRU(SPEC, hidden_size=5, score=score).double()
    inputs = torch.randn(2, 6, 3, dtype=torch.float64)
    h = model.recurrence(inputs)[0]
    found = model.states(inputs)
    for t in range(6):
        context = model.attention(h[:, t : t + 1], h[:, : t + 1])[:, 0]
        torch.testing.assert_close(found[:, t], torch.cat((h[:, t], context), dim=-1))


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize("score", ["additive", "dot"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_an_encoder_decoder_looks_at_the_steps_that_are_there(cell, score, forced):
    """Row by row without padding, step by step."""
    model = Seq2Seq(WORDS, hidden_size=6, cell=cell, attention=score).double()
    inputs, lengths, targets = torch.randint(5, (3, 7)), torch.tensor([7, 2, 4]), torch.randint(4, (3, 3))
    found = model(inputs, lengths, targets=targets if forced else None)
    for row in range(3):
        states, final = model.encoder(model.embedding(inputs[row : row + 1, : lengths[row]]).double())
        before = torch.zeros(1, 1, model.feedback.features, dtype=torch.float64)
        for step in range(3):
            s, final = model.decoder(before, None, final)
            context = model.attention.weights(s, states) @ states
            answer = model.head(model.together(torch.cat((s, context), dim=-1)).tanh())
            torch.testing.assert_close(found[row, step], answer[0, 0], rtol=1e-9, atol=1e-9)
            said = targets[row, step] if forced else answer[0, 0].argmax()
            before = model.feedback(said.view(1, 1)).double()


def test_states_that_grow():
    assert Transformer(SPEC, hidden_size=8, layers=3, heads=2).state_size == Growing(2 * 8 * 3)
    assert AttentionGRU(SPEC, hidden_size=8).state_size == Growing(8)
    assert Seq2Seq(WORDS, hidden_size=8, attention="dot").state_size == Growing(8)
    assert Seq2Seq(WORDS, hidden_size=8).state_size == 8


def test_weights_are_as_many_as_it_says():
    def count(module):
        return sum(weight.numel() for weight in module.parameters())

    f, m = 8, 3
    layer = Transformer(SPEC, hidden_size=f, heads=2, feedforward=m).layers[0]
    assert count(layer) == 4 * f * (f + 1) + f * (2 * m * f + m + 1) + 4 * f
    assert count(AttentionGRU(SPEC, hidden_size=f).attention) == f * f
    plain, looking = (count(Seq2Seq(WORDS, hidden_size=f, attention=score)) for score in ("none", "dot"))
    assert looking - plain == 2 * f * f + f + f * f
    additive = count(Seq2Seq(WORDS, hidden_size=f, attention="additive"))
    assert additive - plain == 2 * f * f + f + 2 * f * (f + 1)


@pytest.mark.parametrize("kind", [Transformer, AttentionGRU])
def test_half_precision_comes_near(kind):
    model = kind(SPEC, hidden_size=16).eval()
    inputs = torch.randn(2, 50, 3)
    with torch.no_grad():
        exact = model(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            near = model(inputs)
    assert (near.float() - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 10, "heads": 4}, "hidden_size is 10 with 4 heads; they must share it evenly"),
        ({"hidden_size": 12, "heads": 4}, "an even number each"),
        ({"heads": 0}, "heads is 0"),
        ({"layers": 0}, "layers is 0"),
    ],
)
def test_bad_settings_are_refused_by_name(options, message):
    with pytest.raises(UserError, match=message):
        Transformer(SPEC, **options)


def test_seeds_can_be_trained_as_one():
    assert Transformer(SPEC).stackable() is None
    assert isinstance(AttentionGRU(SPEC).attention, nn.Module)
