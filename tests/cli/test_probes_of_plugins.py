"""Probes of plugins on the command line: listed, shown, completed, and asked for by `run` and `sweep`."""

import json
import re
from argparse import Namespace

import pytest

import rnnae_bench
from rnnae_bench.api.sweeping import chosen_options
from rnnae_bench.cli import main
from rnnae_bench.cli.completing import _kinds_and_names, _probe_list
from rnnae_bench.errors import UserError
from rnnae_bench.records.store import Store
from rnnae_bench.sweeps.executors.job import Setting
from rnnae_bench.sweeps.executors.planning import plan
from rnnae_bench.trial.added_probes import added_probes
from rnnae_bench.trial.asked_probes import asked_probes

GAUGE = '''
"""A gauge."""

import numpy as np
from rnnae_bench import OptimizerSteps, Probe, Series


class Gauge(OptimizerSteps, Probe):
    """Counts optimiser steps.

    Args:
        by: How much each counts.
    """

    subject = "gauge"

    def __init__(self, by: int = 1) -> None:
        self.by, self.steps = by, []

    def on_optimizer_step(self, trainer, pl_module, step, loss, batch):
        self.steps.append(step)

    def series(self):
        return {"gauge": Series(np.array(self.steps), self.by * np.arange(1.0, len(self.steps) + 1))}

    def measures(self):
        return {"gauge": self.by * len(self.steps)}


class Other(Gauge):
    """Counts other steps."""

    subject = "other"
'''
TASK = "copy:smoke[protocol.max_steps=4,protocol.evaluate_every=4]"
PAIR = ["--task", TASK, "--model", "gru[hidden_size=4]"]


@pytest.fixture
def gauges(install, tmp_path, monkeypatch):
    """Two probes of a plugin, which a sweep's workers find too."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    install("gauges", {"gauges.py": GAUGE}, probes={"gauge": "gauges:Gauge", "other": "gauges:Other"})


def output(capsys, *arguments):
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_none_is_a_line(capsys):
    assert output(capsys, "list", "probes") == "no plugin has a probe; the suite's own measure in every trial\n"
    assert json.loads(output(capsys, "list", "probes", "--json")) == []
    assert "probes" not in output(capsys, "list").split()


def test_they_are_listed_and_shown(gauges, capsys):
    for arguments in (["list", "probes"], ["list"]):
        lines = {line.split()[0]: line for line in output(capsys, *arguments).splitlines() if line}
        assert lines["gauge"].split("  ")[-2:] == ["gauges 1.0", "ok"]
        assert "Counts optimiser steps." in lines["gauge"]
    (entry, _) = json.loads(output(capsys, "list", "probes", "--json"))
    assert (entry["kind"], entry["name"], entry["distribution"], entry["status"]) == ("probe", "gauge", "gauges", "ok")
    shown = json.loads(output(capsys, "show", "gauge", "--json"))
    assert shown == json.loads(output(capsys, "show", "probe", "gauge", "--json"))
    assert shown["kind"] == "probe"
    (option,) = shown["options"]
    assert (option["name"], option["type"], option["default"]) == ("by", "int", 1)
    text = output(capsys, "show", "probe", "gauge")
    assert text.startswith("probe gauge\ngauges:Gauge, gauges 1.0\n")
    assert "How much each counts." in text
    assert output(capsys, "show", "probe", "gauge", "--bibtex") == "% the probe gauge names nothing to cite\n"


def test_a_broken_one_and_a_contested_name_harm_nothing_else(gauges, install, capsys):
    install("broken", {"broken.py": "import no_such_package\n"}, probes={"broken": "broken:X", "other": "broken:X"})
    status = {
        (one["name"], one["distribution"]): one["status"]
        for one in json.loads(output(capsys, "list", "probes", "--json"))
    }
    assert status[("gauge", "gauges")] == "ok"
    assert status[("broken", "broken")] == "broken"
    assert status[("other", "gauges")] == status[("other", "broken")] == "conflict"
    for name, said in (("broken", "cannot load the probe 'broken'"), ("other", "claimed by broken 1.0 and by gauges")):
        assert main(["run", *PAIR, "--probes", name]) == 2
        assert said in capsys.readouterr().err


def test_they_are_completed(gauges):
    assert [*_probe_list("")] == ["gauge", "other"]
    assert [*_probe_list("gauge,")] == ["gauge,other"]
    assert [*_kinds_and_names("", Namespace(words=["probe"]))] == ["gauge", "other"]


def run(folder, *arguments):
    return main(["run", *PAIR, "--out", str(folder), *arguments])


def test_a_run_measures_with_them_and_trains_again_what_lacks_them(gauges, capsys, tmp_path):
    store = Store(tmp_path)
    assert run(tmp_path) == 0
    capsys.readouterr()
    assert run(tmp_path, "--probes", "gauge[by=3]") == 0
    said = capsys.readouterr().err
    assert "measured before without gauge[by=3]: it is trained again, and that record is kept" in said
    (record,) = store.read().records
    assert record.environment.probes == {"gauge[by=3]": "gauges 1.0"}
    assert store.series(record)["gauge"].values.tolist() == [3, 6, 9, 12]
    assert record.measures.by_name["gauge"] == 12
    (before,) = store.superseded().values()
    assert (before.id, before.metrics, before.environment.probes) == (record.id, record.metrics, {})
    # With fewer, or the same, it has what is asked for.
    for probes in ("gauge[by=3]", ""):
        assert run(tmp_path, "--probes", probes) == 0
        assert "measured before, see" in capsys.readouterr().err
    assert run(tmp_path, "--probes", "gauge[by=3], other") == 0
    assert "measured before without other:" in capsys.readouterr().err
    (record,) = store.read().records
    assert record.environment.probes == {"gauge[by=3]": "gauges 1.0", "other": "gauges 1.0"}
    assert record.absent == {"other/gauge": record.absent["other/gauge"]}


def test_a_sweep_measures_with_them_each_trial_by_itself(gauges, tmp_path, capsys):
    folder, file = tmp_path / "runs", tmp_path / "sweep.yaml"
    assert run(folder) == 0
    file.write_text("probes: [gauge, 'other[by=2]']\n")
    assert main(["sweep", *PAIR, "--seeds", "2", "--out", str(folder), "--workers", "1", "--config", str(file)]) == 0
    said = capsys.readouterr().err
    assert "1 of 2 measured before without gauge,other[by=2]: trained again, and those records are kept" in said
    assert "each trial by itself: its probe 'gauge' measures one model at a time (it has no of_member)" in said
    records = Store(folder).read().records
    assert [one.environment.probes for one in records] == [{"gauge": "gauges 1.0", "other[by=2]": "gauges 1.0"}] * 2
    assert [one.environment.vectorized for one in records] == [None, None]
    assert [one.measures.by_name["gauge"] for one in records] == [4, 4]
    assert len(Store(folder).superseded()) == 1


def test_a_sweep_refuses_what_it_does_not_know_before_any_work(gauges, tmp_path, capsys):
    assert main(["sweep", *PAIR, "--out", str(tmp_path / "runs"), "--probes", "gauges"]) == 2
    assert "there is no probe 'gauges'; did you mean 'gauge'" in capsys.readouterr().err
    with pytest.raises(UserError, match="only what is installed is known"):
        rnnae_bench.sweep(TASK, "gru", probes=[Namespace])
    refused = plan(Setting(TASK.partition("[")[0], "gru", {}, probes={"gauge[of=2]": "gauges 1.0"}), [0])
    assert refused.reason == "the probe 'gauge[of=2]': of is not one of its options"
    chosen = chosen_options([TASK], ["gru"], {"probes": ["gauge[by=2]", "other"]})
    assert chosen.probes == "gauge[by=2],other"


@pytest.mark.parametrize(
    ("probes", "said"),
    [
        ("gauges", "there is no probe 'gauges'; did you mean 'gauge'? the known probes are gauge, other"),
        ("gauge,gauge[by=2]", "the probe 'gauge' is given twice"),
        ("gauge[by=much]", "the probe 'gauge[by=much]': its option by can't be much"),
        ("gauge[of=2]", "the probe 'gauge[of=2]': of is not one of its options"),
        ("gauge[by=2", "the brackets do not match"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(probes, said, gauges, tmp_path, capsys):
    assert main(["run", *PAIR, "--out", str(tmp_path / "runs"), "--probes", probes]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match=re.escape(said)):
        added_probes(asked_probes(probes))
