"""What an author does with a plugin's package: builds and installs it, follows its README, and runs its tests.

``python visit_examples.py PLAN``, where PLAN is a JSON file: a list of visits, the arguments of `visit`. The libraries
are imported once; each visit has a process of its own, forked from there.
"""

import json
import os
import shutil
import sys
import traceback
import zipfile
from importlib import import_module
from pathlib import Path

import hatchling.build
import pytest

from rnnae_bench.cli import main


def visit(folder: str, commands: dict[str, list[str]], out: str) -> None:
    """Visit a package.

    Args:
        folder: Of the package.
        commands: Arguments of rnnae-bench, by name.
        out: An empty folder. There NAME.out has what a command said, pytest.out what the tests said, and
            exit_codes.json all exit codes.
    """
    site, tests, wheels = (Path(out, name) for name in ("site", "tests", "wheels"))
    wheels.mkdir()
    os.chdir(folder)
    _say_into(Path(out, "build.out"))
    zipfile.ZipFile(wheels / hatchling.build.build_wheel(str(wheels))).extractall(site)
    tests.mkdir()
    for file in Path(folder).rglob("test_*.py"):
        # Away from the sources, so that what is installed is what is tested.
        shutil.copy(file, tests)
    os.chdir(out)
    sys.path.insert(0, str(site))
    codes = {}
    for name, arguments in commands.items():
        _say_into(Path(out, f"{name}.out"))
        codes[name] = main(arguments)
    _say_into(Path(out, "pytest.out"))
    plain = ["-c", os.devnull, "--rootdir", str(tests), "-p", "no:cacheprovider"]
    codes["pytest"] = int(pytest.main([str(tests), "-q", "-ra", *plain]))
    sys.stdout.flush()
    Path(out, "exit_codes.json").write_text(json.dumps(codes))


def _say_into(file: Path) -> None:
    """Have standard output go to a file from now on, and errors to another beside it."""
    for stream, path in ((sys.stdout, file), (sys.stderr, file.with_suffix(".err"))):
        stream.flush()
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, stream.fileno())
        os.close(opened)


if __name__ == "__main__":
    import_module("rnnae_bench.testing")
    for one in json.loads(Path(sys.argv[1]).read_text()):
        if not (child := os.fork()):
            try:
                visit(**one)
            except BaseException:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(0)
        os.waitpid(child, 0)
