"""The exam that every task and model takes, our own and those of plugins: ``check_task`` and ``check_model``.

A plugin's author calls them from a test::

    from rnnae_bench.testing import check_model, check_task

    def test_the_exam():
        check_task(MyTask)
        assert check_model(MyModel, MyTask.from_variant("smoke")) is None

Each raises an ``AssertionError`` that says what is wrong and what the contract asks for.
"""

from rnnae_bench.testing.model_exam import check_model
from rnnae_bench.testing.task_exam import FROZEN_TOLERANCE, check_task

__all__ = ["FROZEN_TOLERANCE", "check_model", "check_task"]
