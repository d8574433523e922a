"""Answers that need no network, fitted to training rows: a constant, the input, one place of it, a linear map."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.spec import Classes, Images, Static, TaskSpec, Tokens, Values, Vectors
from rnnae_bench.testing.batch_exam import counted
from rnnae_bench.testing.forms import prediction_shape

ROWS = 800
"""That are enough to fit a linear map."""
PLACES = 1024
"""In an input, at most, that are looked at."""
BINS = 32
"""That a real number is sorted into, to tell a class."""
PENALTIES = (1e-4, 1e-1)
"""Of a linear map's weights, in units of the inputs' mean square."""
SMALLEST = 1e-3
"""Chance that a class has at least."""

Answer = Callable[[Tensor, Tensor | None], Tensor]
Fitted = Callable[[Tensor], Tensor]


class Trivial:
    """Stands in for a model.

    Args:
        spec: Of the task.
        name: What it answers, for messages.
        answer: Gives a prediction of inputs and lengths.
    """

    def __init__(self, spec: TaskSpec, name: str, answer: Answer) -> None:
        self.spec, self.name, self._answer = spec, name, answer
        if spec.code_limit is not None:
            self.code = self._code

    def __call__(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """A prediction, as the spec asks for it."""
        shape = prediction_shape(self.spec, inputs)
        return self._answer(inputs, lengths).float().reshape(shape).contiguous()

    def _code(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The same code for every row."""
        return torch.zeros(len(inputs), self.spec.code_limit or 0)


def constants(spec: TaskSpec, pool: Batch) -> Iterator[Trivial]:
    """Those that look at nothing: zeros; what training targets are on average; the same of every step by itself."""
    yield Trivial(spec, "nothing but zeros", lambda rows, lengths: torch.zeros(prediction_shape(spec, rows)))
    dense, counts = _dense(spec, pool.targets), _counts(spec, pool)
    name = (
        "how often each class is a training target" if isinstance(spec.outputs, Classes) else "the mean training target"
    )
    mean = _said(spec, dense.mean(0) if counts is None else dense[counts].mean(0))
    yield Trivial(spec, name, lambda rows, lengths: mean.expand(prediction_shape(spec, rows)))
    if counts is not None and bool(counts.any(0).all()):
        weights = counts.to(dense.dtype).unsqueeze(2)
        each = _said(spec, (dense * weights).sum(0) / weights.sum(0))

        def at_each(rows: Tensor, lengths: Tensor | None) -> Tensor:
            shape = prediction_shape(spec, rows)
            return (each if shape[1:] == each.shape else mean).expand(shape)

        yield Trivial(spec, f"{name}, step by step", at_each)


def copies(spec: TaskSpec) -> Iterator[Trivial]:
    """Those that give the input back: that of the same step, or the last one."""
    inputs, outputs = spec.inputs, spec.outputs
    whole = inputs == outputs or (isinstance(inputs, Static) and outputs == Values(inputs.features))
    if whole:
        yield Trivial(spec, "the input itself", lambda rows, lengths: rows)
    elif isinstance(inputs, Tokens) and outputs == Classes(inputs.vocabulary):
        if spec.predicts == "every step":
            yield Trivial(spec, "the symbol of the same step", lambda rows, lengths: _certain(spec, rows))
        elif spec.predicts == "last step":
            yield Trivial(spec, "the last symbol", lambda rows, lengths: _certain(spec, _last(rows, lengths)))
    elif isinstance(inputs, Vectors) and isinstance(outputs, Values):
        if spec.predicts == "every step":
            yield Trivial(spec, "the input of the same step", lambda rows, lengths: _first(rows, outputs.features))
        elif spec.predicts == "last step":
            yield Trivial(spec, "the last input", lambda rows, lengths: _first(_last(rows, lengths), outputs.features))
            yield Trivial(spec, "the mean input", lambda rows, lengths: _first(rows.mean(1), outputs.features))


def one_place(spec: TaskSpec, pool: Batch) -> Trivial:
    """Of each target the one place in the input that tells most of it: by a table, or a straight line.

    Where predictions are due at every step, that of the same step; else any, counted from the first step or the last.
    """
    return _fitted(spec, pool, "one number of the input", _place)


def linear(spec: TaskSpec, pool: Batch, lag: int | None = None) -> Trivial:
    """A ridge regression on the input: of the same step where predictions are due at every step, else all of it.

    Args:
        spec: Of the task.
        pool: Training rows.
        lag: Where one answer is due after the last step: how many steps it looks back on, if not all.
    """
    symbols = spec.sequence.vocabulary if isinstance(spec.sequence, Tokens) else None

    def fit(seen: Tensor, wanted: Tensor, classes: int | None) -> Fitted:
        def encoded(one: Tensor) -> Tensor:
            return (one if symbols is None else one_hot(one, symbols).flatten(1)).double()

        dense = wanted.double() if classes is None else one_hot(wanted, classes).double()
        solved = _ridge(encoded(seen), dense)
        return lambda rows: solved(encoded(rows)) if classes is None else _logits(solved(encoded(rows)))

    within = "" if lag is None else f" in the last {lag} steps"
    return _fitted(spec, pool, f"a linear map of the input{within}", fit, lag)


def _fitted(
    spec: TaskSpec,
    pool: Batch,
    name: str,
    fit: Callable[[Tensor, Tensor, int | None], Fitted],
    lag: int | None = None,
) -> Trivial:
    """What is fitted to a pool of training rows, or to their steps.

    Args:
        spec: Of the task.
        pool: The rows.
        name: For messages.
        fit: Gives a prediction of places, from places ``[row place]``, targets ``[row]`` or ``[row feature]``, and how
            many classes there are.
        lag: How many steps are looked back on, if not all.
    """
    classes = spec.outputs.count if isinstance(spec.outputs, Classes) else None
    length, targets = pool.inputs.shape[1], pool.targets

    def places(rows: Tensor, lengths: Tensor | None) -> Tensor:
        return _places(spec, rows, lengths, length, lag)

    seen = places(pool.inputs, pool.lengths)
    if seen.dim() == 3:
        counts = counted(spec, pool)
        tell = fit(seen[counts][: 4 * ROWS], targets[counts][: 4 * ROWS], classes)
        name = name.replace("the input", "the input of the same step")
        return Trivial(spec, name, lambda rows, lengths: tell(places(rows, lengths).flatten(0, 1)))
    tell = fit(seen, targets if classes else targets.flatten(1), classes)
    return Trivial(spec, name, lambda rows, lengths: tell(places(rows, lengths)))


def _places(spec: TaskSpec, inputs: Tensor, lengths: Tensor | None, steps: int, lag: int | None = None) -> Tensor:
    """What an answer looks at: of every step ``[row time place]``, or of every row ``[row place]``.

    Of a row, its steps as counted from the first, of which there are so many, and where they differ in number, from the
    last.
    """
    tokens = isinstance(spec.inputs, Tokens)
    if spec.predicts == "every step" and isinstance(spec.inputs, Tokens | Vectors):
        return inputs.unsqueeze(2) if tokens else inputs
    if lengths is not None:
        inputs = pad(inputs, (0, 0) * (inputs.dim() - 2) + (0, max(0, steps - inputs.shape[1])))[:, :steps]
        back = (lengths.clamp(max=steps).unsqueeze(1) - 1 - torch.arange(lag or steps)).clamp(min=0)
        index = back if tokens else back.unsqueeze(2).expand(*back.shape, inputs.shape[2])
        ends = inputs.gather(1, index)
        inputs = torch.cat((inputs, ends), dim=1) if lag is None else ends
    elif lag is not None:
        inputs = inputs[:, -lag:]
    flat = inputs.flatten(1)
    return flat[:, :: -(-flat.shape[1] // PLACES)]


def _place(seen: Tensor, wanted: Tensor, classes: int | None) -> Fitted:
    """The one place that tells most; where places and targets are real numbers, of each target."""
    if classes is None and seen.is_floating_point():
        return _lines(seen.double(), wanted.double())
    edges = _edges(seen) if seen.is_floating_point() else None
    cells = seen if edges is None else _binned(seen, edges)
    size = int(cells.max()) + 1
    tables, fits = [], []
    for cell in cells.T:
        if classes is None:
            counts = cell.bincount(minlength=size).clamp(min=1).unsqueeze(1)
            table = torch.zeros(size, wanted.shape[1], dtype=torch.double).index_add(0, cell, wanted.double()) / counts
            fits.append(-(wanted - table[cell]).square().mean().item())
        else:
            found = (cell * classes + wanted).bincount(minlength=size * classes).view(size, classes).double() + 0.1
            table = (found / found.sum(1, keepdim=True)).log()
            fits.append(table[cell, wanted].mean().item())
        tables.append(table)
    best = max(range(len(fits)), key=fits.__getitem__)

    def tell(rows: Tensor) -> Tensor:
        here = rows if edges is None else _binned(rows, edges)
        return tables[best][here[:, best].clamp(max=size - 1)]

    return tell


def _edges(seen: Tensor) -> Tensor:
    """Between which values each place's numbers are sorted: ``[place edge]``."""
    return torch.quantile(
        seen[:ROWS].T.double(), torch.linspace(0, 1, BINS + 1, dtype=torch.double)[1:-1], dim=1
    ).T.contiguous()


def _binned(seen: Tensor, edges: Tensor) -> Tensor:
    return torch.searchsorted(edges, seen.T.double().contiguous()).T


def _lines(seen: Tensor, wanted: Tensor) -> Fitted:
    """For each target a straight line from the place that it correlates with most."""
    means, mean = seen.mean(0), wanted.mean(0)
    spread, other = seen - means, wanted - mean
    squares = spread.square().sum(0).clamp(min=1e-12)
    products = spread.T @ other
    best = (products.square() / squares.unsqueeze(1)).argmax(0)
    slope = products.gather(0, best.unsqueeze(0))[0] / squares[best]
    return lambda rows: (rows.double()[:, best] - means[best]) * slope + mean


def _ridge(seen: Tensor, wanted: Tensor) -> Fitted:
    """The linear map with the penalty that does best on a quarter of the rows, fitted to the others."""
    kept = slice(0, len(seen) * 3 // 4)
    rest = slice(kept.stop, None)
    fits = [_solved(seen[kept], wanted[kept], penalty) for penalty in PENALTIES]
    return min(fits, key=lambda fit: float((fit(seen[rest]) - wanted[rest]).square().mean()))


def _solved(seen: Tensor, wanted: Tensor, penalty: float) -> Fitted:
    means, mean = seen.mean(0), wanted.mean(0)
    spread, other = seen - means, wanted - mean
    size = min(spread.shape)
    more = penalty * float(spread.square().sum()) / size * torch.eye(size, dtype=torch.double) + 1e-9 * torch.eye(size)
    if len(spread) < spread.shape[1]:
        weights = spread.T @ torch.linalg.solve(spread @ spread.T + more, other)
    else:
        weights = torch.linalg.solve(spread.T @ spread + more, spread.T @ other)
    return lambda rows: (rows - means) @ weights + mean


def _dense(spec: TaskSpec, targets: Tensor) -> Tensor:
    """Targets as what is predicted: of classes, 1 for the right one and 0 for the others."""
    if isinstance(spec.outputs, Classes):
        return one_hot(targets.clamp(0, spec.outputs.count - 1), spec.outputs.count).double()
    return targets.double()


def _counts(spec: TaskSpec, batch: Batch) -> Tensor | None:
    """Which steps of the targets count; None where there are no steps."""
    if spec.predicts == "last step" or isinstance(spec.outputs, Images):
        return None
    return counted(spec, batch)


def _said(spec: TaskSpec, chances: Tensor) -> Tensor:
    return _logits(chances) if isinstance(spec.outputs, Classes) else chances


def _logits(chances: Tensor) -> Tensor:
    return chances.clamp(min=SMALLEST).log()


def _certain(spec: TaskSpec, labels: Tensor) -> Tensor:
    return _logits(_dense(spec, labels) * (1 - 10 * SMALLEST))


def _first(values: Tensor, features: int) -> Tensor:
    """So many of a vector's numbers; where it has fewer, the first again."""
    few = values.shape[-1] < features
    return values[..., :1].expand(*values.shape[:-1], features) if few else values[..., :features]


def _last(rows: Tensor, lengths: Tensor | None) -> Tensor:
    return rows[:, -1] if lengths is None else rows[torch.arange(len(rows)), lengths - 1]
