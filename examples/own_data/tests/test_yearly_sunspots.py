"""The exam of the task, check by check, and what its README says of it."""

from pathlib import Path

import pytest
import yearly_sunspots.datamodule
from yearly_sunspots.datamodule import YearlySunspotsTask

from rnnae_bench.testing import TASK_CHECKS, TaskCandidate, require_passed

CANDIDATES = {variant: TaskCandidate(YearlySunspotsTask, variant) for variant in ("smoke", "standard")}
QUICK = [check for check in TASK_CHECKS if not check.is_slow]


@pytest.mark.parametrize("check", QUICK, ids=str)
@pytest.mark.parametrize("variant", CANDIDATES)
def test_exam(variant, check):
    require_passed([check.ask(CANDIDATES[variant])])


def test_no_year_of_the_training_is_in_another_part():
    task = YearlySunspotsTask(window=5)
    lines = Path(yearly_sunspots.datamodule.__file__).with_name("sunspots.csv").read_text().splitlines()[1:]
    values = [float(line.split(",")[1]) / 100 for line in lines]
    for name, first in (("validation", 1900), ("test", 1950)):
        rows = task.evaluation_set(name)
        assert rows.inputs[0].flatten().tolist() == pytest.approx(values[first - 1700 : first - 1700 + 5])
    last = max(float(target) for step in range(20) for target in task.train_batch(step).targets[:, 0])
    assert last == pytest.approx(max(values[5 : 1900 - 1700]))


def test_the_first_test_row_is_the_one_that_is_drawn():
    rows = YearlySunspotsTask().evaluation_set("test")
    drawn = [f"{value:.3f}" for value in rows.inputs[0].flatten()]
    assert f"{' '.join(drawn[:3])} ... {' '.join(drawn[-3:])}" in YearlySunspotsTask.__doc__
    assert f"target   {rows.targets[0].item():.3f}" in YearlySunspotsTask.__doc__
