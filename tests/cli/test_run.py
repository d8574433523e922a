"""``rnnae-bench run``, from the command line to the record on disk."""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from rnnae_bench.cli import main
from rnnae_bench.options.yaml12 import load
from rnnae_bench.records import document
from rnnae_bench.records.record import Record
from rnnae_bench.records.store import Store

QUICK = ["--task.protocol.max_steps", "12", "--task.protocol.evaluate_every", "6", "--model.hidden_size", "8"]


def run(*arguments: str) -> int:
    return main(["run", "--task", "copy:smoke", "--model", "gru", *QUICK, *arguments])


def only_record(folder: Path) -> Record:
    (path,) = folder.glob("*.json")
    return document.load(path)


def test_a_run_leaves_a_record_its_histories_and_a_picture(tmp_path, capsys):
    assert run("--out", str(tmp_path / "runs"), "--seed", "3") == 0
    record = only_record(tmp_path / "runs")
    assert record.status == "ok"
    assert record.seed == record.data_seed == 3
    assert record.overrides == {
        "model.hidden_size": 8,
        "task.protocol.evaluate_every": 6,
        "task.protocol.max_steps": 12,
    }
    assert record.measures.steps == 12
    assert record.command[:4] == ["rnnae-bench", "run", "--task", "copy:smoke"]
    series = Store(tmp_path / "runs").series(record)
    assert series["gradient_norm"].steps.tolist() == list(range(1, 13))
    assert series["validation/recall_accuracy"].steps.tolist() == [6, 12]
    assert (tmp_path / "runs" / f"{record.id}.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr()
    assert "recall_accuracy, higher is better" in said.out
    assert f"{record.id}.json" in said.err
    assert "⡇" in said.err  # the picture of gradient norms


def test_a_trial_measured_before_is_shown_not_run_again(tmp_path, capsys):
    assert run("--out", str(tmp_path)) == 0
    before = only_record(tmp_path)
    capsys.readouterr()
    assert run("--out", str(tmp_path), "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == [document.document_of(before)]
    assert "measured before" in said.err
    assert run("--out", str(tmp_path), "--overwrite") == 0
    assert only_record(tmp_path).id == before.id
    kept = list(Store(tmp_path).superseded().values())
    assert kept == [before]


def test_the_same_trial_gives_the_same_numbers(tmp_path):
    for name in ("one", "two"):
        assert run("--out", str(tmp_path / name)) == 0
    one, two = only_record(tmp_path / "one"), only_record(tmp_path / "two")
    assert one.id == two.id
    assert one.metrics == two.metrics
    assert one.history.sha256 == two.history.sha256


def test_seeds_make_a_record_each_and_a_row_with_spread(tmp_path, capsys):
    assert run("--out", str(tmp_path), "--seeds", "3") == 0
    assert sorted(document.load(path).seed for path in tmp_path.glob("*.json")) == [0, 1, 2]
    assert "±" in capsys.readouterr().out


def test_a_configuration_file_is_read_and_flags_win(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(
        "model:\n  name: gru\n  hidden_size: 4\nseed: 5\n"
        "task: {name: 'copy:smoke', protocol: {max_steps: 5, evaluate_every: 5}}\n"
    )
    assert main(["run", "--config", str(config), "--model.hidden_size", "6", "--out", str(tmp_path / "runs")]) == 0
    record = only_record(tmp_path / "runs")
    assert record.configuration.model["hidden_size"] == 6
    assert record.seed == 5
    assert record.measures.steps == 5


def printed(capsys, *arguments) -> dict:
    """What ``--print_config`` prints, by our reader."""
    with pytest.raises(SystemExit):
        main(["run", *arguments, "--print_config"])
    return load(capsys.readouterr().out)


def test_of_several_files_the_later_ones_win_option_by_option(tmp_path, capsys):
    texts = (
        "task: copy:smoke\nmodel: {name: gru, hidden_size: 13, layers: 3}\nseed: 1\n",
        "task: {delay: 4}\nmodel: {name: gru, layers: 2, optimization: {clip: 2}}\n",
    )
    files = [tmp_path / "base.yaml", tmp_path / "more.yaml"]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    words = [f"--config={file}" for file in files]
    found = printed(capsys, *words, "--model.optimization.clip", "0.5", "--task", "copy:standard")
    assert found["task"]["name"] == "copy:standard"
    assert found["task"]["delay"] == 4
    assert [found["model"][name] for name in ("hidden_size", "layers")] == [13, 2]
    assert found["model"]["optimization"]["clip"] == 0.5
    assert found["seed"] == 1


@pytest.mark.parametrize(("written", "value"), [("010", 10), ("0o10", 8), ("0x10", 16), ("+010", 10)])
def test_a_value_means_the_same_on_the_command_line_and_in_a_file(written, value, tmp_path, capsys):
    file = tmp_path / "run.yaml"
    file.write_text(f"task: copy:smoke\nmodel: {{name: gru, hidden_size: {written}}}\n")
    for words in (["--config", str(file)], ["--task=copy:smoke", "--model=gru", "--model.hidden_size", written]):
        assert printed(capsys, *words)["model"]["hidden_size"] == value


def test_print_config_gives_a_file_that_runs_the_same(tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        run("--print_config")
    assert done.value.code == 0
    config = tmp_path / "run.yaml"
    config.write_text(capsys.readouterr().out)
    assert run("--out", str(tmp_path / "flags")) == 0
    assert main(["run", "--config", str(config), "--out", str(tmp_path / "file")]) == 0
    assert only_record(tmp_path / "flags").id == only_record(tmp_path / "file").id


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "cpoy"], "did you mean 'copy'"),
        (["--task", "copy:smok"], "it has smoke"),
        (["--model", "gruu"], "did you mean 'gru'"),
        (["--model", "gru", "--model", "lstm"], "one --model, and gru and lstm are given; rnnae-bench sweep takes"),
        (["--task", "copy", "--task=names"], "one --task, and copy and names are given; rnnae-bench sweep takes"),
        (["--model.hidden_size", "1:30"], "--model.hidden_size"),
        (["--model.bidirectional", "yes"], "--model.bidirectional"),
        (["--model.hidden_size", "0"], "hidden_size is 0"),
        (["--model.hidden_size", "many"], "--model.hidden_size"),
        (["--model.hiden_size", "3"], "did you mean --model.hidden_size?"),
        (["--model.dropout", "1.0"], "dropout is 1.0"),
        (["--model.bidirectional", "true"], "would read the future"),
        (["--model.optimization.learning_rate", "nan"], "learning_rate"),
        (["--model", "dense_ae"], "does not support task 'copy:smoke'"),
        (["--task.delay", "-1"], "delay is -1"),
        (["--task.protocol.batch_size", "0"], "batch_size is 0"),
        (["--trainer.precision", "16-mixed"], "fp16) needs a GPU"),
        (["--trainer.precision", "17"], "it must be one of"),
        (["--trainer.accelerator", "gpu"], "don't work here"),
        (["--trainer.devices", "3", "--trainer.accelerator", "cpu"], "does not divide over 3 devices"),
        (["--trainer.strategy", "ddp_spawn"], "use ddp"),
        (["--trainer.max_steps", "4"], "--task.protocol"),
        (["--seeds", "0"], "seeds is 0"),
        (["--seed", "-1"], "seed is -1"),
        (["--threads", "0"], "threads is 0"),
        (["--logger", "paper"], "must be one of wandb, csv, tensorboard"),
        (["--config", "absent.yaml"], "cannot read the configuration file absent.yaml"),
        (["--out", "/proc/nowhere"], "cannot write records to /proc/nowhere"),
        (["--out", __file__], "is a file"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "gpu" in arguments:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
    names = ["--task", "copy:smoke", "--model", "gru"]
    if arguments[0] in names:
        place = names.index(arguments[0])
        del names[place : place + 2]
    assert main(["run", *names, *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    (line,) = output.err.splitlines()
    assert line.startswith("rnnae-bench: error: ")
    assert said in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("task: copy:smoke\nmodel: [", "run.yaml:2: not YAML"),
        (
            "task: copy:smoke\nmodel:\n  name: gru\n  layers: 1\n  layers: 2\n",
            "run.yaml:5: not YAML: 'layers' is given",
        ),
        ("- task\n", "a configuration is a mapping"),
        ("task: {name: 'copy:smoke', delya: 3}\nmodel: gru\n", "did you mean --task.delay?"),
        ("task: copy:smoke\nmodel: gru\nsseed: 3\n", "sseed"),
    ],
)
def test_a_bad_configuration_file_is_refused(content, said, tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text(content)
    assert main(["run", "--config", str(config), "--out", str(tmp_path / "runs")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_loss_that_is_no_number_is_a_diverged_record_with_its_step(tmp_path, capsys):
    code = run("--out", str(tmp_path), "--model.optimization.learning_rate", "1e38", "--model.optimization.warmup", "0")
    assert code == 1
    record = only_record(tmp_path)
    assert record.status == "diverged"
    loss = Store(tmp_path).series(record)["loss"]
    assert loss.steps[~_finite(loss.values)][0] == record.failure.step
    assert record.primary.value is None
    assert "diverged: the training loss was not finite at step" in capsys.readouterr().err


def _finite(values):
    return abs(values) < float("inf")


def test_bfloat16_works_on_the_cpu(tmp_path):
    assert run("--out", str(tmp_path), "--trainer.precision", "bf16-mixed") == 0
    record = only_record(tmp_path)
    assert record.environment.precision == "bf16-mixed"
    assert record.status == "ok"


def test_csv_and_tensorboard_get_every_step(tmp_path):
    assert run("--out", str(tmp_path), "--logger", "csv,tensorboard") == 0
    identity = only_record(tmp_path).id
    (rows,) = (tmp_path / "logs" / "csv" / identity).glob("metrics.csv")
    lines = rows.read_text().splitlines()
    assert "gradient_norm" in lines[0]
    assert len(lines) == 1 + 12 + 1  # head, steps, the test result
    assert list((tmp_path / "logs" / "tensorboard" / identity).glob("events*"))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rnnae_bench", "run", "--task", "copy:smoke", "--model", "gru", *arguments]


@pytest.fixture
def single_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.usefixtures("single_thread")
def test_two_processes_learn_what_one_learns(tmp_path):
    ddp = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    done = subprocess.run(
        command(*QUICK, *ddp, "--out", str(tmp_path / "two"), "--seeds", "2"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert run("--out", str(tmp_path / "one"), "--seeds", "2") == 0
    two, one = Store(tmp_path / "two").read().records, Store(tmp_path / "one").read().records
    assert [record.seed for record in two] == [0, 1]
    for many, single in zip(two, one, strict=True):
        assert many.environment.devices == 2
        assert many.id != single.id
        norms = [Store(tmp_path / name).series(record) for name, record in (("two", many), ("one", single))]
        # The gradient over both halves of each batch is the gradient over the whole batch.
        assert norms[0]["gradient_norm"].values == pytest.approx(norms[1]["gradient_norm"].values, rel=1e-3)
        # So is the loss, to rounding; one half's is 2 % off.
        assert norms[0]["loss"].steps.tolist() == list(range(1, 13))
        assert norms[0]["loss"].values == pytest.approx(norms[1]["loss"].values, rel=1e-4)
        assert many.metrics["test"]["loss"] == pytest.approx(single.metrics["test"]["loss"], rel=1e-4)
        # The examples that the processes answered in turn lie in the order of the test set again.
        examples, expected = (series["test/examples/recall_accuracy"].values for series in norms)
        assert examples.shape == expected.shape == (1, 200)
        assert (examples == expected).mean() > 0.98


@pytest.mark.usefixtures("single_thread")
def test_a_stopped_trial_keeps_its_history(tmp_path):
    endless = command(
        "--task.protocol.max_steps", "1000000", "--task.protocol.evaluate_every", "20", "--out", str(tmp_path)
    )
    with subprocess.Popen(
        endless,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would their children.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "step 40/" in line:
                # Twice: a wrapper such as `uv run` passes on what the terminal sent to all.
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 1
    assert "Traceback" not in rest
    record = only_record(tmp_path)
    assert record.status == "interrupted"
    assert record.failure.message.startswith("stopped by Ctrl-C")
    series = Store(tmp_path).series(record)
    assert len(series["gradient_norm"].steps) >= 40
    assert record.measures.steps >= 40


@pytest.mark.usefixtures("single_thread")
def test_wandb_offline_holds_the_gradient_norms(tmp_path, monkeypatch, wandb_messages):
    for variable in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    out = tmp_path / "runs"
    done = subprocess.run(
        command(*QUICK, "--logger", "wandb", "--out", str(out)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (file,) = (out / "logs").glob("wandb/offline-run-*/run-*.wandb")
    history, summary = read_wandb(wandb_messages(file))
    # W&B's own description of the run would hold the command line.
    assert b"--logger" not in file.read_bytes()
    assert [row["gradient_norm"] for row in history if "gradient_norm" in row] == pytest.approx(
        Store(out).series(only_record(out))["gradient_norm"].values.tolist()
    )
    assert summary["status"] == "ok"


def read_wandb(messages: list) -> tuple[list[dict], dict]:
    """History rows and summary of an offline run."""
    history: list[dict] = []
    summary: dict = {}
    for message in messages:
        kind = message.WhichOneof("record_type")
        if kind == "history":
            history.append({(one.key or one.nested_key[0]): json.loads(one.value_json) for one in message.history.item})
        elif kind == "summary":
            summary.update(
                {(one.key or one.nested_key[0]): json.loads(one.value_json) for one in message.summary.update}
            )
    return history, summary


def test_options_in_brackets_are_those_of_flags(tmp_path, capsys):
    named = ["run", "--task", "copy:smoke[protocol.max_steps=8,protocol.evaluate_every=8]", "--out", str(tmp_path)]
    assert main([*named, "--model", "gru[hidden_size=4]", "--logger", "csv,tensorboard"]) == 0
    record = only_record(tmp_path)
    assert record.measures.steps == 8
    assert record.configuration.model["hidden_size"] == 4
    said = " ".join(capsys.readouterr().err.split())
    assert f"csv {tmp_path}/logs/csv/{record.id} " in said
    logs = f"{tmp_path}/logs/tensorboard"
    assert f"tensorboard {logs}/{record.id} tensorboard --logdir {logs}" in said
    for again in (["--model", "gru[hidden_size=4]", "--model.hidden_size", "4"], ["--model", "gru[hidden_size=0x4]"]):
        assert main([*named, *again, "--data_seed=0"]) == 0
        assert only_record(tmp_path).id == record.id
        assert "measured before" in capsys.readouterr().err
    assert main([*named, "--model", "gru[hidden_size=4]", "--model.hidden_size", "5"]) == 2
    assert "--model.hidden_size is 4 in brackets and 5 beside them; leave one out" in capsys.readouterr().err
    config = tmp_path / "run.yaml"
    config.write_text("model: {name: 'gru[hidden_size=4]', hidden_size: 5}\n")
    assert main([*named, "--config", str(config)]) == 2
    assert "4 in brackets and 5 beside them" in capsys.readouterr().err
    # The flag's bracket wins over the file, as any flag does.
    assert main([*named, "--config", str(config), "--model", "gru[hidden_size=4]"]) == 0
    assert only_record(tmp_path).id == record.id


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gru[hiden_size=3]", "did you mean --model.hidden_size?"),
        ("gru[hidden_size=3", "the brackets do not match"),
        ("gru[hidden_size=[3,4]]", "--model.hidden_size: got '[3, 4]'; it must be a whole number"),
    ],
)
def test_a_mistake_in_brackets_is_one_line(model, said, tmp_path, capsys):
    assert main(["run", "--task", "copy:smoke", "--model", model, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_a_wrong_value_is_told_by_the_spelling_of_help(tmp_path, capsys):
    assert run("--data_seed", "many", "--out", str(tmp_path)) == 2
    assert "--data-seed: got 'many'; it must be a whole number" in capsys.readouterr().err
