"""RNN, LSTM and GRU against their equations, torch.nn's modules, and what their options promise."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from rnnae_bench.contracts.heads import last_state
from rnnae_bench.contracts.spec import Classes, Images, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.errors import UserError
from rnnae_bench.models.initialization import initialize, set_gate_bias
from rnnae_bench.models.recurrent import GRU, LSTM, RNN, ThroughTime
from rnnae_bench.recurrence import gru

CELLS = {RNN: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}
GATES = {RNN: 1, LSTM: 4, GRU: 3}
VECTORS = TaskSpec("vectors", Vectors(3, 7), Values(2), "last step", causal=False, variable_length=True)
TOKENS = TaskSpec("tokens", Tokens(5, 7), Classes(4), "every step", causal=True)
IMAGE = Images(channels=2, height=6, width=5)
IMAGES = TaskSpec("images", IMAGE, IMAGE, "every step", causal=False)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def rnn_step(x, state, w, u, b, c, f):
    (h,) = state
    return (f(w @ x + b + u @ h + c),)


def lstm_step(x, state, w, u, b, c, f):
    h, cell = state
    i, forget, g, o = np.split(w @ x + b + u @ h + c, 4)
    cell = sigmoid(forget) * cell + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(cell), cell


def gru_step(x, state, w, u, b, c, f):
    (h,) = state
    (w_r, w_z, w_n), (u_r, u_z, u_n) = np.split(w, 3), np.split(u, 3)
    (b_r, b_z, b_n), (c_r, c_z, c_n) = np.split(b, 3), np.split(c, 3)
    r = sigmoid(w_r @ x + b_r + u_r @ h + c_r)
    z = sigmoid(w_z @ x + b_z + u_z @ h + c_z)
    n = np.tanh(w_n @ x + b_n + r * (u_n @ h + c_n))
    return ((1 - z) * n + z * h,)


STEPS = {RNN: rnn_step, LSTM: lstm_step, GRU: gru_step}


def slow_states(model, inputs, f=np.tanh):
    """The states of one sequence ``[time features]``, layer by layer and step by step."""
    weights = {name: weight.detach().numpy() for name, weight in model.recurrence.named_parameters()}
    hidden = model.recurrence.hidden_size
    for layer in range(model.recurrence.num_layers):
        halves = []
        for suffix in (f"l{layer}", f"l{layer}_reverse")[: 2 if model.bidirectional else 1]:
            w, u, b, c = (weights[f"{kind}_{suffix}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            state = (np.zeros(hidden),) * (2 if type(model) is LSTM else 1)
            states = []
            for x in inputs[::-1] if suffix.endswith("reverse") else inputs:
                state = STEPS[type(model)](x, state, w, u, b, c, f)
                states.append(state[0])
            halves.append(states[::-1] if suffix.endswith("reverse") else states)
        inputs = np.concatenate(halves, axis=1)
    return inputs


def randomised(model):
    """The model in double precision with every weight, biases included, drawn at random."""
    for weight in model.double().parameters():
        nn.init.normal_(weight, std=0.7)
    return model


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", CELLS)
def test_states_follow_the_equations(kind, layers, bidirectional):
    model = randomised(kind(VECTORS, hidden_size=4, layers=layers, bidirectional=bidirectional))
    inputs = torch.randn(2, 7, 3, dtype=torch.float64)
    states = model.states(inputs).detach().numpy()
    for row in range(2):
        np.testing.assert_allclose(states[row], slow_states(model, inputs[row].numpy()), rtol=1e-12, atol=1e-12)


def test_relu_is_the_other_activation():
    model = randomised(RNN(VECTORS, hidden_size=4, activation="relu"))
    inputs = torch.randn(1, 7, 3, dtype=torch.float64)
    expected = slow_states(model, inputs[0].numpy(), f=lambda z: np.maximum(z, 0))
    np.testing.assert_allclose(model.states(inputs)[0].detach().numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
def test_prediction_is_that_of_torch_with_the_same_weights(kind):
    model = kind(VECTORS, hidden_size=4, layers=2, bidirectional=True)
    twin = CELLS[kind](3, 4, num_layers=2, bidirectional=True, batch_first=True)
    twin.load_state_dict(model.recurrence.state_dict())
    inputs = torch.randn(2, 7, 3)
    states = twin(inputs)[0]
    whole = torch.cat((states[:, -1, :4], states[:, 0, 4:]), dim=1)
    expected = whole @ model.head.affine.weight.T + model.head.affine.bias
    torch.testing.assert_close(model(inputs), expected)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_padding_changes_nothing(kind, bidirectional):
    model = randomised(kind(VECTORS, hidden_size=4, layers=2, bidirectional=bidirectional))
    lengths = torch.tensor([3, 7, 1])
    inputs = torch.randn(3, 7, 3, dtype=torch.float64)
    states, prediction = model.states(inputs, lengths), model(inputs, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = inputs[row : row + 1, :length]
        torch.testing.assert_close(states[row : row + 1, :length], model.states(alone))
        assert not states[row, length:].any()
        torch.testing.assert_close(prediction[row : row + 1], model(alone))
    dirty = inputs.clone()
    dirty[0, 3:], dirty[2, 1:] = 1e3, -1e3
    assert torch.equal(model.states(dirty, lengths), states)
    assert torch.equal(model(dirty, lengths), prediction)


def test_padded_batch_may_be_longer_than_its_longest_sequence():
    states = GRU(VECTORS, hidden_size=4).states(torch.randn(2, 7, 3), torch.tensor([5, 2]))
    assert states.shape == (2, 7, 4)
    assert torch.equal(last_state(states, torch.tensor([5, 2])), torch.stack((states[0, 4], states[1, 1])))


@pytest.mark.parametrize("kind", CELLS)
def test_orthogonal_initialisation(kind):
    model = kind(VECTORS, hidden_size=16, layers=2, bidirectional=True, initialization="orthogonal")
    for name, weight in model.recurrence.named_parameters():
        gates = weight.detach().chunk(GATES[kind])
        if name.startswith("weight_hh"):
            for gate in gates:
                torch.testing.assert_close(gate @ gate.T, torch.eye(16), rtol=0, atol=1e-5)
        elif name.startswith("weight_ih"):
            bound = math.sqrt(6 / (16 + weight.shape[1]))  # Glorot's, gate by gate
            for gate in gates:
                assert 0.8 * bound < gate.abs().max() <= bound
                assert gate.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.3)
        elif kind is not LSTM:
            assert not weight.any()


@pytest.mark.parametrize("kind", CELLS)
def test_identity_initialisation(kind):
    model = kind(VECTORS, hidden_size=16, initialization="identity")
    weights = dict(model.recurrence.named_parameters())
    assert torch.equal(weights["weight_hh_l0"], torch.eye(16).repeat(GATES[kind], 1))
    assert weights["weight_ih_l0"].std().item() == pytest.approx(0.001, rel=0.35)
    if kind is not LSTM:
        assert not weights["bias_ih_l0"].any()
        assert not weights["bias_hh_l0"].any()


def test_irnn_at_the_start_adds_up_its_inputs():
    """With identity recurrence, relu and zero biases the state is the running sum of non-negative drives."""
    model = RNN(VECTORS, hidden_size=5, activation="relu", initialization="identity")
    nn.init.uniform_(model.recurrence.weight_ih_l0, 0, 1)
    inputs = torch.rand(1, 7, 3)
    expected = (inputs @ model.recurrence.weight_ih_l0.T).cumsum(1)
    torch.testing.assert_close(model.states(inputs), expected)


@pytest.mark.parametrize("kind", CELLS)
def test_pytorch_initialisation_is_uniform(kind):
    model = kind(VECTORS, hidden_size=16, initialization="pytorch")
    weights = dict(model.recurrence.named_parameters())
    for name in ("weight_ih_l0", "weight_hh_l0"):
        assert 0.9 / 4 < weights[name].abs().max() <= 1 / 4  # 1 / sqrt(hidden)
        assert weights[name].std().item() == pytest.approx(1 / 4 / math.sqrt(3), rel=0.25)
    assert weights["bias_ih_l0"][:16].any()


@pytest.mark.parametrize(("bias", "share"), [(40.0, 1.0), (-40.0, 0.0), (math.log(3), 0.75)])
def test_lstm_forget_bias_is_the_share_of_the_cell_that_stays(bias, share):
    """With the recurrent matrix and the inputs at zero, c_t = sigma(forget_bias) c_(t-1) + sigma(0) tanh(0)."""
    model = LSTM(VECTORS, hidden_size=4, forget_bias=bias)
    nn.init.zeros_(model.recurrence.weight_hh_l0)
    start = torch.randn(1, 2, 4)
    _, (_, cell) = model.recurrence(torch.zeros(2, 3, 3), state=(torch.zeros(1, 2, 4), start))
    torch.testing.assert_close(cell, share**3 * start)


@pytest.mark.parametrize("initialization", ["pytorch", "orthogonal", "identity"])
def test_gru_update_bias_keeps_or_replaces_the_state(initialization):
    start, inputs = torch.randn(1, 2, 4), torch.randn(2, 5, 3)
    keeps = GRU(VECTORS, hidden_size=4, initialization=initialization, update_bias=40.0)
    torch.testing.assert_close(keeps.recurrence(inputs, state=(start,))[1][0], start)
    replaces = GRU(VECTORS, hidden_size=4, initialization=initialization, update_bias=-40.0)
    nn.init.zeros_(replaces.recurrence.weight_hh_l0)
    expected = torch.tanh(
        inputs[:, -1] @ replaces.recurrence.weight_ih_l0[8:].T
        + replaces.recurrence.bias_ih_l0[8:]
        + replaces.recurrence.bias_hh_l0[8:] / (1 + torch.exp(-reset_drive(replaces, inputs[:, -1])))
    )
    torch.testing.assert_close(replaces.recurrence(inputs, state=(start,))[1][0][0], expected)


def reset_drive(model, x):
    """What the reset gate of a GRU without recurrent matrix squashes."""
    recurrence = model.recurrence
    return x @ recurrence.weight_ih_l0[:4].T + recurrence.bias_ih_l0[:4] + recurrence.bias_hh_l0[:4]


@pytest.mark.parametrize(("kind", "option"), [(LSTM, "forget_bias"), (GRU, "update_bias")])
def test_gate_bias_is_set_in_every_layer_and_direction_and_nowhere_else(kind, option):
    model = kind(VECTORS, hidden_size=4, layers=2, bidirectional=True, **{option: 2.5})
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        gates = getattr(model.recurrence, f"bias_ih_{suffix}").detach().view(GATES[kind], 4)
        assert (gates[1] == 2.5).all()
        assert not gates[[gate for gate in range(GATES[kind]) if gate != 1]].any()
        assert not getattr(model.recurrence, f"bias_hh_{suffix}").any()


def test_dropout_acts_between_layers_while_training_only():
    model = GRU(VECTORS, hidden_size=32, layers=2, dropout=0.5)
    inputs = torch.randn(2, 7, 3)
    assert not torch.equal(model.states(inputs), model.states(inputs))
    model.eval()
    plain = GRU(VECTORS, hidden_size=32, layers=2)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model.states(inputs), plain.states(inputs))


@pytest.mark.parametrize(("kind", "per_unit"), [(RNN, 1), (LSTM, 2), (GRU, 1)])
def test_state_size_counts_layers_directions_and_cells(kind, per_unit):
    assert kind(VECTORS, hidden_size=5).state_size == 5 * per_unit
    assert kind(VECTORS, hidden_size=5, layers=3, bidirectional=True).state_size == 5 * per_unit * 3 * 2


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("hidden_size", 0, "hidden_size is 0"),
        ("layers", 0, "layers is 0"),
        ("dropout", 1.0, "dropout is 1.0"),
        ("dropout", -0.1, "dropout is -0.1"),
        ("dropout", 0.1, "dropout is 0.1 with one layer"),
    ],
)
def test_bad_settings_are_refused_by_name(kind, option, value, message):
    with pytest.raises(UserError, match=message):
        kind(VECTORS, **{option: value})


@pytest.mark.parametrize("kind", CELLS)
def test_support(kind):
    assert kind.supports(VECTORS, bidirectional=True) is None
    assert kind.supports(TOKENS) is None
    assert kind.supports(IMAGES) is None
    assert "causal" in kind.supports(TOKENS, bidirectional=True)
    other_height = TaskSpec("upscale", IMAGE, Images(2, 12, 5), "every step", causal=False)
    assert "the task wants 12" in kind.supports(other_height)


@pytest.mark.parametrize(
    ("spec", "inputs", "lengths", "shape"),
    [
        (TOKENS, torch.arange(14).reshape(2, 7) % 5, None, (2, 7, 4)),
        (VECTORS, torch.randn(2, 7, 3), torch.tensor([7, 4]), (2, 2)),
        (IMAGES, torch.rand(2, 2, 6, 5), None, (2, 2, 6, 5)),
    ],
    ids=lambda value: value.task if isinstance(value, TaskSpec) else "",
)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_one_step_moves_every_weight(kind, bidirectional, spec, inputs, lengths, shape):
    if kind.supports(spec, bidirectional=bidirectional) is not None:
        assert spec is TOKENS
        return
    model = kind(spec, hidden_size=8, layers=2, bidirectional=bidirectional)
    prediction = model(inputs, lengths)
    assert prediction.shape == shape
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    loss = (prediction - 0.3).square().mean()
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    for name, weight in model.named_parameters():
        assert not torch.equal(weight, before[name]), name
    assert (model(inputs, lengths) - 0.3).square().mean() < loss


def loss_gradients(model, inputs):
    loss = model.states(inputs)[:, -1].square().sum()
    return torch.autograd.grad(loss, [inputs, *model.recurrence.parameters()])


@pytest.mark.parametrize("kind", CELLS)
def test_truncated_backpropagation_is_full_where_the_window_is_long_enough(kind):
    full = randomised(kind(VECTORS, hidden_size=4, layers=2))
    inputs = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    for window in (7, 8, 100):
        cut = kind(VECTORS, hidden_size=4, layers=2, through_time=ThroughTime(window=window)).double()
        cut.load_state_dict(full.state_dict())
        for one, other in zip(loss_gradients(full, inputs), loss_gradients(cut, inputs), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", CELLS)
def test_no_gradient_crosses_a_cut_and_the_state_does(kind):
    full = randomised(kind(VECTORS, hidden_size=4))
    cut = kind(VECTORS, hidden_size=4, through_time=ThroughTime(window=3)).double()
    cut.load_state_dict(full.state_dict())
    inputs = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(cut.states(inputs), full.states(inputs), rtol=1e-12, atol=1e-14)
    gradient = loss_gradients(cut, inputs)[0]
    assert (gradient[:, :6] == 0).all()
    assert (gradient[:, 6] != 0).all()
    assert (loss_gradients(full, inputs)[0] != 0).all()


@pytest.mark.parametrize("kind", CELLS)
def test_a_learned_initial_state_starts_as_zero_and_learns(kind):
    model = kind(VECTORS, hidden_size=4, layers=2, bidirectional=True, through_time=ThroughTime(learned_state=True))
    learned = list(model.recurrence.learned)
    assert [tuple(one.shape) for one in learned] == [(4, 1, 4)] * (2 if kind is LSTM else 1)
    assert all((one == 0).all() for one in learned)
    model(torch.randn(2, 7, 3)).square().sum().backward()
    assert all((one.grad != 0).any() for one in learned)


@pytest.mark.parametrize("kind", CELLS)
def test_stateful_batches_go_on_as_one_sequence(kind):
    stream = TaskSpec("stream", Vectors(3, 7), Values(2), "last step", causal=True, continues=True)
    model = randomised(kind(stream, hidden_size=4, layers=2, through_time=ThroughTime(stateful=True)))
    inputs = torch.randn(2, 14, 3, dtype=torch.float64, requires_grad=True)
    first, second = model.states(inputs[:, :7]), model.states(inputs[:, 7:])
    model.eval()
    whole = model.states(inputs)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(model.states(inputs[:, :7]), first, rtol=1e-12, atol=1e-14)
    gradient = torch.autograd.grad(second.square().sum(), inputs)[0]
    assert (gradient[:, :7] == 0).all()
    model.train()
    assert model.states(inputs[:1]).shape == (1, 14, 4)  # another batch size: from the start


def test_stateful_is_refused_where_batches_do_not_continue_each_other():
    assert "stateful" in GRU.supports(VECTORS, through_time=ThroughTime(stateful=True))
    assert "stateful" in GRU.supports(VECTORS, through_time={"stateful": True})
    assert GRU.supports(VECTORS, through_time=ThroughTime(window=3)) is None
    with pytest.raises(UserError, match="one state only"):
        ThroughTime(stateful=True, learned_state=True)
    for wrong in ({"window": -1}, {"recurrent_dropout": 1.5}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            ThroughTime(**wrong)


@pytest.mark.parametrize("kind", CELLS)
def test_recurrent_dropout_acts_while_training_only(kind):
    model = kind(VECTORS, hidden_size=4, through_time=ThroughTime(recurrent_dropout=0.5))
    inputs = torch.randn(2, 7, 3)
    assert not torch.equal(model.states(inputs), model.states(inputs))
    torch.testing.assert_close(model.states(inputs)[:, 0], model.states(inputs)[:, 0])  # nothing recurs yet
    model.eval()
    assert torch.equal(model.states(inputs), model.states(inputs))


@pytest.mark.parametrize("initialization", ["orthogonal", "identity"])
def test_independent_models_are_initialised_one_by_one(initialization):
    recurrence = gru.GRU(3, 4, models=2)
    initialize(recurrence, initialization)
    set_gate_bias(recurrence, gate=1, bias=2.5)
    for one in recurrence.weight_hh_l0:
        for gate in one.split(4):
            torch.testing.assert_close(gate @ gate.T, torch.eye(4), atol=1e-6, rtol=0)
    assert recurrence.bias_ih_l0.tolist() == [[0.0] * 4 + [2.5] * 4 + [0.0] * 4] * 2


ANSWER = TaskSpec("answer", Vectors(2, 7), Classes(3), "last step", causal=False)


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_readout_of_all_states_is_one_map_of_them_side_by_side(kind, bidirectional):
    torch.manual_seed(0)
    model = kind(ANSWER, hidden_size=5, layers=2, bidirectional=bidirectional, readout="all").double()
    inputs = torch.randn(4, 7, 2, dtype=torch.float64)
    width = 10 if bidirectional else 5
    weight, bias = model.head.affine.weight, model.head.affine.bias
    assert weight.shape == (3, 7 * width)
    states = model.states(inputs)
    expected = sum(states[:, t] @ weight[:, t * width : (t + 1) * width].T for t in range(7)) + bias
    torch.testing.assert_close(model(inputs), expected)
    assert not model.resumes
    others = [kind(ANSWER, hidden_size=5, layers=2, bidirectional=bidirectional, readout="all").double() for _ in "ab"]
    stacked = kind.stack([model, *others])
    together = stacked(inputs.expand(3, 4, 7, 2))
    torch.testing.assert_close(together, torch.stack([one(inputs) for one in (model, *others)]))


def test_a_readout_of_all_states_wants_one_answer_and_one_length():
    assert GRU.supports(ANSWER, readout="all") is None
    assert "this task has every step" in GRU.supports(replace(ANSWER, predicts="every step"), readout="all")
    assert "sequences of up to 7 steps" in GRU.supports(replace(ANSWER, variable_length=True), readout="all")


def test_the_gru_of_mnist_1d_has_its_published_number_of_weights():
    spec = TaskSpec("series", Vectors(1, 40), Classes(10), "last step", causal=False)
    model = GRU(spec, hidden_size=6, bidirectional=True, readout="all")
    assert sum(one.numel() for one in model.parameters()) == 5134
