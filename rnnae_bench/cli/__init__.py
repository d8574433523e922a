"""The command line: ``rnnae-bench COMMAND``. A command's module is imported only when that command runs."""

import os
import sys

from rnnae_bench import __version__
from rnnae_bench.cli.dispatch import dispatch
from rnnae_bench.cli.output import Lost, discard, prepare
from rnnae_bench.errors import UserError, in_a_line
from rnnae_bench.records.legible import printable
from rnnae_bench.trial.interruption import Interruptions

COMMANDS = {
    "run": "train a model on a task and keep a record of it",
    "sweep": "many trials at once: a grid or a search, on this machine or on a Ray cluster",
    "horizon": "the longest lag at which a model still solves a task",
    "list": "the models, tasks and probes that are installed",
    "show": "a task's card, a model's hyper-parameters, or a probe's options; their BibTeX",
    "check": "the exam of a model, a task or a probe: what is wrong with it, check by check",
    "plugin": "a package of one's own with a model, a task or a probe",
    "baselines": "what a task's baselines score, ready for its card",
    "probe": "Jacobians and Lyapunov exponents of a model on a task",
    "truth": "published figures and closed forms beside what is measured here",
    "predict": "what a trained model answers to an evaluation set, as arrays and as a picture",
    "results": "a table over the records in a folder",
    "compare": "two models, records or folders: what differs, and whether it is real",
    "figure": "a figure for a paper: curves, gradients through time, cost against score",
    "query": "SQL over the records in a folder",
    "reproduce": "run a record's trial again, and see whether it comes out the same",
    "leaderboard": "the site, the standings, submissions, and W&B",
    "docs": "where the documentation is; the guide for agents",
    "completion": "a script with which the shell completes names and options",
}

_HELP = f"""usage: rnnae-bench COMMAND [options]

Which recurrent network or autoencoder is better at what, and why.

commands:
{chr(10).join(f"  {name:<12} {summary}" for name, summary in COMMANDS.items())}

options:
  -h, --help  show this text; after a command, its own options
  --version   show the version

first steps:
  rnnae-bench run --task copy:smoke --model gru     seconds; does it run at all?
  rnnae-bench run --task copy --model gru           the real thing
  rnnae-bench results                               what was measured so far

exit codes: 0 done, 1 a trial failed, 2 a mistake in what was asked (one line says which)"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 a trial failed or was stopped, 2 the user's mistake."""
    if arguments is None:
        arguments = sys.argv[1:]
        if "_ARGCOMPLETE" in os.environ:
            # A shell asks how the line may go on.
            from rnnae_bench.cli.completing import answer

            answer()
        prepare()
    try:
        if arguments[:1] == ["--version"]:
            print(f"rnnae-bench {__version__}")
            return 0
        try:
            with Interruptions() as interruptions, interruptions.raised():
                return dispatch(arguments, COMMANDS, _HELP, "command")
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"rnnae-bench: error: {printable(in_a_line(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("rnnae-bench: stopped", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader (head, less) left: not our user's mistake.
        discard()
        return 0
    except Lost as error:
        discard()
        print(f"rnnae-bench: error: cannot write to standard output: {error}", file=sys.stderr)
        return 1
