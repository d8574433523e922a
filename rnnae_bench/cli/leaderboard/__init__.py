"""``rnnae-bench leaderboard ACTION``: from records to pages, and from people to the records that are committed."""

from rnnae_bench.cli.dispatch import dispatch

ACTIONS = {
    "build": "write the site: pages that open from disk",
    "show": "print the standings",
    "submit": "check records and copy them to the leaderboard's",
    "validate": "check the leaderboard's records and tables, as CI does",
    "push": "publish records, table and report on W&B",
    "pull": "turn a W&B project's runs back into records",
}

_HELP = f"""usage: rnnae-bench leaderboard ACTION [options]

From records to a leaderboard that says which differences are real.

actions:
{chr(10).join(f"  {name:<9} {summary}" for name, summary in ACTIONS.items())}

options:
  -h, --help  show this text; after an action, its own options"""


def main(arguments: list[str]) -> int:
    """Run an action; returns its exit code."""
    return dispatch(arguments, ACTIONS, _HELP, "action", "leaderboard")
