"""``rnnae-bench leaderboard ACTION``: from records to pages, and from people to the records that are committed."""

import difflib
from importlib import import_module

from rnnae_bench.errors import UserError

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
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_HELP)
        return 0 if arguments else 2
    action = arguments[0]
    if action not in ACTIONS:
        near = difflib.get_close_matches(action, ACTIONS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UserError(f"there is no action 'leaderboard {action}'; {hint}actions: {', '.join(ACTIONS)}")
    code: int = import_module(f"rnnae_bench.cli.leaderboard_{action}").main(arguments[1:])
    return code
