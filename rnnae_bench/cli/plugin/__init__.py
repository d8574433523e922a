"""``rnnae-bench plugin ACTION``: a package of one's own with a model, a task or a probe."""

from rnnae_bench.cli.dispatch import dispatch

ACTIONS = {"new": "write a small package that installs and passes its exam"}

_HELP = f"""usage: rnnae-bench plugin ACTION [options]

Models, tasks and probes of one's own, in a package that others can install.

actions:
{chr(10).join(f"  {name:<9} {summary}" for name, summary in ACTIONS.items())}

options:
  -h, --help  show this text; after an action, its own options"""


def main(arguments: list[str]) -> int:
    """Run an action; returns its exit code."""
    return dispatch(arguments, ACTIONS, _HELP, "action", "plugin")
