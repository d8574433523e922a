"""``--from``: the folder that records are read from, spelled alike in every command that reads some."""

import argparse

from rnnae_bench.errors import UserError


def add_source(parser: argparse.ArgumentParser, default: str = "", described: str = "") -> None:
    """Add ``--from FOLDER``, which may also be given as the first word.

    Args:
        parser: The command's.
        default: The folder where none is given.
        described: The default in words, where it is not one folder.
    """
    parser.add_argument("folder", nargs="?", help=argparse.SUPPRESS)
    about = f"folder of records (default: {described or default})"
    parser.add_argument("--from", dest="source", metavar="FOLDER", help=about)
    parser.set_defaults(default_source=default)


def source_of(options: argparse.Namespace) -> str:
    """The folder that was asked for, or the default.

    Raises:
        UserError: two different ones are.
    """
    given = [one for one in (options.source, options.folder) if one is not None]
    if len(set(given)) > 1:
        raise UserError(f"--from {given[0]} and {given[1]} are two folders of records; leave one out")
    found: str = given[0] if given else options.default_source
    return found
