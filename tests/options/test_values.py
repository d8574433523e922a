"""Values of options of every type: from the command line to the record, and back to the same object."""

import datetime
import decimal
import json
import math
import sys
import uuid
from pathlib import Path

import pytest
import torch
from torch import nn

from rnnae_bench.cli import main
from rnnae_bench.contracts.search_space import Choices, dimension_from
from rnnae_bench.contracts.search_space import plain as plain_range
from rnnae_bench.errors import UserError
from rnnae_bench.options.plain import alike, name_of, named
from rnnae_bench.options.yaml12 import load
from rnnae_bench.records.document import document_of
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.job import Plan, Refusal, Setting
from rnnae_bench.sweeps.executors.planning import plan
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.rebuild import rebuild
from rnnae_bench.trial.trial import Trial

MODELS = '''
import datetime, decimal, enum, math, uuid
import torch
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple
from lightning import LightningModule
from torch import nn
from rnnae_bench import TaskSpec


class Cell(enum.Enum):
    GRU = "gru"
    LSTM = "lstm"


class Point(NamedTuple):
    x: int = 1
    y: float = 2.0


@dataclass
class Layer:
    width: int = 3
    act: type[nn.Module] = nn.ReLU


def own(x):
    return x


class Plain(LightningModule):
    def __init__(self, spec: TaskSpec):
        super().__init__()
        self.embedding = nn.Embedding(spec.inputs.vocabulary, 8)
        self.recurrence = nn.GRU(8, 8, batch_first=True)
        self.out = nn.Linear(8, spec.outputs.count)

    def forward(self, inputs, lengths=None):
        return self.out(self.recurrence(self.embedding(inputs))[0])

    def training_step(self, batch, batch_idx):
        return self.trainer.datamodule.loss(self(batch.inputs, batch.lengths), batch)

    def validation_step(self, batch, batch_idx):
        return self(batch.inputs, batch.lengths)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


class Zoo(Plain):
    """One option of each kind."""

    def __init__(
        self,
        spec: TaskSpec,
        path: Path = Path("none"),
        cell: Cell = Cell.GRU,
        function: Callable = torch.tanh,
        init: Callable[[torch.Tensor], torch.Tensor] | None = nn.init.xavier_uniform_,
        kind: type[nn.Module] = nn.ReLU,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        numbers: set[int] = {2, 1},
        words: frozenset[str] = frozenset({"b", "a"}),
        limit: float = math.inf,
        maybe: float | None = None,
        size: tuple[int, int] = (3, 3),
        raw: bytes = b"ab",
        turn: complex = 1j,
        wait: datetime.timedelta = datetime.timedelta(seconds=5),
        when: datetime.datetime | None = None,
        day: datetime.date = datetime.date(2024, 1, 2),
        price: decimal.Decimal = decimal.Decimal("0.1"),
        share: Fraction = Fraction(1, 3),
        mark: uuid.UUID | None = None,
        span: range = range(3),
        queue: deque[int] = deque([1]),
        table: dict[int, float] = {1: 2.0},
        free: dict = {"a": {"b": 1}},
        point: Point = Point(),
        layer: Layer = Layer(),
        other: Layer | None = None,
        layers: list[Layer] = [],
        anything: Any = 3,
        leak: float = 1,
        count: int | float = 1,
        part: nn.Module | None = None,
        act_layer=nn.GELU,
        kernel=(3, 3),
        place=Path("p"),
        sort=Cell.GRU,
        untyped=1,
        keys: int = 1,
        values: int = 2,
        items: int = 3,
        get: int = 4,
        pop: int = 5,
        update: int = 6,
        clone: int = 7,
    ):
        super().__init__(spec)
        self.given = {name: value for name, value in locals().items() if name not in ("self", "spec", "__class__")}


class Lambda(Plain):
    """A default that has no name."""

    def __init__(self, spec: TaskSpec, activation: Callable = lambda x: x):
        super().__init__(spec)
'''

DEFAULTS = {
    "path": "none",
    "cell": "GRU",
    "function": "torch.tanh",
    "init": "torch.nn.init.xavier_uniform_",
    "kind": "torch.nn.ReLU",
    "dtype": "torch.float32",
    "device": None,
    "numbers": [1, 2],
    "words": ["a", "b"],
    "limit": ".inf",
    "maybe": None,
    "size": [3, 3],
    "raw": "YWI=",
    "turn": "1j",
    "wait": "0:00:05",
    "when": None,
    "day": "2024-01-02",
    "price": "0.1",
    "share": "1/3",
    "mark": None,
    "span": "range(0, 3)",
    "queue": [1],
    "table": {"1": 2.0},
    "free": {"a": {"b": 1}},
    "point": {"x": 1, "y": 2.0},
    "layer": {"width": 3, "act": "torch.nn.ReLU"},
    "other": None,
    "layers": [],
    "anything": 3,
    "leak": 1,
    "count": 1,
    "part": None,
    "act_layer": "torch.nn.GELU",
    "kernel": [3, 3],
    "place": "p",
    "sort": "GRU",
    "untyped": 1,
    "keys": 1,
    "values": 2,
    "items": 3,
    "get": 4,
    "pop": 5,
    "update": 6,
    "clone": 7,
}
"""The plain form of each default, by hand."""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """The pair of the copy task and a plugin's model with an option of each kind."""
    site = tmp_path_factory.mktemp("site")
    (site / "zoo_models.py").write_text(MODELS)
    (site / "evil_module.py").write_text(f"open({str(site / 'imported')!r}, 'w')\nclass Evil: ...\n")
    information = site / "zoo-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[rnnae_bench.models]\nzoo = zoo_models:Zoo\nlambda = zoo_models:Lambda\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield Pair("copy:smoke", "zoo")
    assert not (site / "imported").exists()


def read(pair, *words):
    return pair.options(pair.parse(list(words)))


def back(pair, options):
    """What the model is given where its trial is rebuilt from a record."""
    again = pair.resolve(json.loads(json.dumps(options, allow_nan=False)))
    assert again == options
    task = pair.build_task(again["task"], 0)
    return pair.build_model(task, again["model"], 0).given


def test_defaults_are_plain_and_come_back_as_they_are(zoo):
    options = read(zoo)
    assert alike(options["model"], DEFAULTS)
    models = sys.modules["zoo_models"]
    given = back(zoo, options)
    assert given["cell"] is given["sort"] is models.Cell.GRU
    assert given["function"] is torch.tanh
    assert given["act_layer"] is nn.GELU
    expected = {
        "path": Path("none"),
        "dtype": torch.float32,
        "numbers": {1, 2},
        "limit": math.inf,
        "size": (3, 3),
        "kernel": (3, 3),
        "table": {1: 2.0},
        "point": models.Point(1, 2.0),
        "layer": models.Layer(3, nn.ReLU),
        "place": Path("p"),
        "price": decimal.Decimal("0.1"),
    }
    assert alike({name: given[name] for name in expected}, expected)


@pytest.mark.parametrize(
    ("option", "text", "written", "value"),
    [
        ("path", "a/b.txt", "a/b.txt", Path("a/b.txt")),
        ("function", "torch.relu", "torch.relu", torch.relu),
        ("function", "torch.nn.modules.activation.Tanh", "torch.nn.Tanh", nn.Tanh),
        ("init", "null", None, None),
        ("kind", "torch.nn.Tanh", "torch.nn.Tanh", nn.Tanh),
        ("act_layer", "torch.nn.Tanh", "torch.nn.Tanh", nn.Tanh),
        ("dtype", "float16", "torch.float16", torch.float16),
        ("device", "cuda:1", "cuda:1", torch.device("cuda", 1)),
        ("numbers", "[3, 1, 3]", [1, 3], {1, 3}),
        ("limit", ".nan", ".nan", math.nan),
        ("maybe", ".inf", ".inf", math.inf),
        ("kernel", "[5, 5]", [5, 5], (5, 5)),
        ("raw", "YWJj", "YWJj", b"abc"),
        ("turn", "2+1j", "(2+1j)", 2 + 1j),
        ("wait", "0:01:00", "0:01:00", datetime.timedelta(minutes=1)),
        ("when", "2024-01-02T03:04:05", "2024-01-02 03:04:05", datetime.datetime(2024, 1, 2, 3, 4, 5)),
        ("price", "0.30", "0.30", decimal.Decimal("0.30")),
        ("mark", "1" * 32, "11111111-1111-1111-1111-111111111111", uuid.UUID("1" * 32)),
        ("span", "range(0,5,2)", "range(0, 5, 2)", range(0, 5, 2)),
        ("table", "{3: 4}", {"3": 4.0}, {3: 4.0}),
        ("anything", "{class_path: evil_module.Evil}", {"class_path": "evil_module.Evil"}, ...),
        ("leak", "2", 2.0, 2.0),
        ("count", "1.0", 1.0, 1.0),
        ("keys", "0x10", 16, 16),
        ("get", "5", 5, 5),
    ],
)
def test_given_values_come_back_as_they_are(zoo, option, text, written, value):
    options = read(zoo, f"--model.{option}", text)
    assert alike(options["model"], {**DEFAULTS, option: written})
    value = written if value is ... else value
    assert alike(back(zoo, options)[option], value)


def test_dataclasses_beside_none_and_in_lists_come_back(zoo):
    layers = "[{width: 4}, {act: torch.nn.GELU}]"
    options = read(zoo, "--model.other", "{width: 5}", "--model.layers", layers, "--model.layer.act", "torch.nn.Tanh")
    layer = sys.modules["zoo_models"].Layer
    given = back(zoo, options)
    assert given["other"] == layer(5, nn.ReLU)
    assert given["layers"] == [layer(4, nn.ReLU), layer(3, nn.GELU)]
    assert given["layer"] == layer(3, nn.Tanh)


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("function", "evil_module.Evil", "'evil_module.Evil' names no class or function of what is loaded"),
        ("function", "tanh", "names no class or function"),
        ("act_layer", "GELU", "names no class or function"),
        ("kind", "torch.Tensor", "Tensor is no subclass of Module"),
        ("dtype", "float17", "no dtype of torch"),
        ("keys", "9" * 400, "that large"),
        ("cell", "gru", "GRU,LSTM"),
        ("part", "evil_module.Evil", "plain values only"),
        ("part", "{class_path: evil_module.Evil}", "plain values only"),
        ("part", "{class_path: torch.nn.ReLU, init_args: {inplace: true}}", "plain values only"),
        ("part.help", "evil_module.Evil", "plain values only"),
        ("layer", "evil_module.Evil", "plain values only"),
        ("layers", "[{class_path: evil_module.Evil}]", "plain values only"),
        ("limit", "1:30", "got '1:30'; it must be .*a number"),
    ],
)
def test_what_names_code_or_fits_no_type_is_refused_in_a_line(zoo, option, text, said, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(f"model: {{{option}: {text if text.startswith(('[', '{')) else json.dumps(text)}}}\n")
    for words in ([f"--model.{option}", text], ["--config", str(config)]):
        if option == "part.help" and words[0] == "--config":
            continue
        with pytest.raises(UserError, match=said) as caught:
            read(zoo, *words)
        assert "\n" not in str(caught.value)
        assert f"--model.{option}" in str(caught.value)
    assert "evil_module" not in sys.modules


def test_equal_values_are_one_trial(zoo):
    base = read(zoo)
    identity = Trial(zoo, base, 0).identity
    for option, texts in {
        "leak": ["1", "1.0", "1e0", "1."],
        "untyped": ["1", "1.0"],
        "numbers": ["[1, 2]", "[2, 1, 2]"],
        "function": ["torch.tanh"],
        "init": ["torch.nn.init.xavier_uniform_"],
        "limit": [".inf", "1e999"],
        "path": ["./none"],
        "table": ["{1: 2}"],
        "size": ["[3, 3]"],
        "act_layer": ["torch.nn.GELU", "torch.nn.modules.activation.GELU"],
    }.items():
        for text in texts:
            assert read(zoo, f"--model.{option}", text) == base
            found = read(zoo, f"--model.{option}", text)
            assert json.dumps(found) == json.dumps(base), (option, text)
    assert Trial(zoo, base, 0).identity == identity
    two = {json.dumps(read(zoo, "--model.leak", text)) for text in ("2", "2.0", "2e0", "0x2")}
    assert len(two) == 1


def test_a_value_that_has_no_name_is_refused_before_any_work(zoo, tmp_path, capsys):
    arguments = ["run", "--task", "copy:smoke", "--model", "lambda", "--out", str(tmp_path / "runs")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("rnnae-bench: error: --model.activation: <lambda> can't be written into a record")
    assert not (tmp_path / "runs").exists()
    refused = plan(Setting("copy:smoke", "lambda", {}), [0])
    assert isinstance(refused, Refusal)
    assert "--model.activation" in refused.reason
    given = plan(Setting("copy:smoke", "lambda", {"model": {"activation": "torch.tanh"}}), [0])
    assert isinstance(given, Plan)


def test_a_run_leaves_a_record_that_is_rebuilt_to_the_same_trial(zoo, tmp_path):
    words = ["--task", "copy:smoke", "--task.protocol.max_steps", "2", "--task.protocol.evaluate_every", "2"]
    changes = ["--model.function", "torch.relu", "--model.cell", "LSTM", "--model.limit=-.inf", "--model.keys", "9"]
    changes += ["--model.init", "zoo_models.own"]
    assert main(["run", *words, "--model", "zoo", *changes, "--out", str(tmp_path)]) == 0
    (record,) = Store(tmp_path).read().records
    assert {name: value for name, value in record.overrides.items() if name.startswith("model.")} == {
        "model.function": "torch.relu",
        "model.cell": "LSTM",
        "model.limit": "-.inf",
        "model.keys": 9,
        "model.init": "zoo_models.own",
    }
    trial = rebuild(record)
    assert trial.identity == record.id
    given = trial.build_model().given
    models = sys.modules["zoo_models"]
    assert (given["function"], given["cell"], given["init"]) == (torch.relu, models.Cell.LSTM, models.own)
    assert (given["limit"], given["keys"]) == (-math.inf, 9)
    planned = plan(Setting("copy:smoke", "zoo", {"task": {"protocol": {"max_steps": 2, "evaluate_every": 2}}}), [0])
    assert isinstance(planned, Plan)
    json.dumps(document_of(planned.draft), allow_nan=False)
    record.configuration.model["function"] = "os.system"
    with pytest.raises(UserError, match=r"model.function may name code to run \('os.system'\)"):
        rebuild(record)


# Of classes whose plugins other tests had installed for a while: help looks for all subclasses.
@pytest.mark.filterwarnings("ignore:\\s*Hit failing import")
def test_what_is_printed_is_read_back_to_the_same(zoo, tmp_path, capsys):
    changes = ["--model.dtype", "float16", "--model.values", "8", "--model.numbers", "[4]", "--model.limit", "3"]
    texts = []
    for words in (["--task", "copy:smoke", "--model", "zoo", *changes], ["--config", str(tmp_path / "run.yaml")]):
        with pytest.raises(SystemExit):
            main(["run", *words, "--print_config"])
        texts.append(capsys.readouterr().out)
        (tmp_path / "run.yaml").write_text(texts[0])
    assert load(texts[0]) == load(texts[1])
    assert load(texts[0])["model"]["values"] == 8
    with pytest.raises(SystemExit):
        main(["run", *words, "--help", "all"])
    assert "--model.items ITEMS" in capsys.readouterr().out


def test_ranges_of_classes_are_told_by_their_names():
    told = plain_range(Choices((nn.GELU, nn.ReLU, None)))
    assert told == ["torch.nn.GELU", "torch.nn.ReLU", None]
    assert dimension_from(told, "act") == Choices(tuple(told))


def test_names_are_of_what_is_loaded():
    assert named("torch.nn.GELU") is nn.GELU
    assert name_of(nn.GELU) == "torch.nn.GELU"
    assert name_of(datetime.date) == "datetime.date"
    for value in (lambda: 1, nn.ReLU(), torch.ones(1)):
        with pytest.raises(ValueError, match="can't be written"):
            name_of(value)
