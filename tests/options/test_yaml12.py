"""The one reader of YAML: the values of version 1.2's core schema, and what is refused."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rnnae_bench.errors import UserError
from rnnae_bench.options.yaml12 import LARGEST, dump, load, read

# By hand from https://yaml.org/spec/1.2.2/, section 10.3.2.
CORE = {
    "010": 10,
    "-010": -10,
    "+12": 12,
    "-3": -3,
    "e5": "e5",
    "0o17": 15,
    "0x1F": 31,
    "1e-3": 0.001,
    "1E3": 1000.0,
    ".5": 0.5,
    "1.": 1.0,
    "-.inf": -math.inf,
    ".INF": math.inf,
    "~": None,
    "Null": None,
    "": None,
    "TRUE": True,
    "false": False,
    **{text: text for text in ("yes", "No", "on", "off", "y", "1:30", "1_000", "0b11", "2024-01-01", "=", "<<", "inf")},
    "'010'": "010",
    "!!str 10": "10",
    "!!float 3": 3.0,
}


@pytest.mark.parametrize(("text", "value"), CORE.items(), ids=lambda one: str(one) or "empty")
def test_scalars_are_those_of_the_core_schema(text, value):
    found = load(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is given twice"),
        ("b:\n  - {x: 1, 'x': 2}\n", 2, "'x' is given twice"),
        ("1: a\n0x1: b\n", 2, "'0x1' is given twice"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "write plain values"),
        ("a: 1\nb: !!timestamp 2024-01-01\n", 2, "the tag timestamp is not read"),
        ("a: &a [*a]\n", 1, "stands for what it lies in"),
        ("? [1]\n: 2\n", 1, "can't be a key"),
        ("a: !!int x\n", 1, "'x' is not a whole number"),
        (f"a: {'9' * 2000}\n", 1, "more than 1000 digits"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: [1\n", 1, "did not find expected"),
        (f"a: {'[' * 101}{']' * 101}\n", 1, "deeper than 100 levels"),
        (f"a: {'[' * 100000}\n", 1, "nest"),
        ("a: \x07\n", None, "control characters"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_line(text, line, said, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read(path, "the file")
    assert str(caught.value).startswith(f"{path}:{line}: not YAML: " if line else f"{path}: not YAML: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("use", ["[{}]", "{{<<: [{}]}}"])
def test_an_alias_bomb_is_refused(use):
    levels = "".join(f"a{level + 1}: &a{level + 1} {use.format(f'*a{level},' * 9)}\n" for level in range(40))
    with pytest.raises(yaml.YAMLError, match="more than 100000 values"):
        load(f"a0: &a0 {{x: 1}}\n{levels}")


def test_aliases_and_merges_are_read():
    assert load("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: \xff\n", "not UTF-8 .* at byte 3"),
        (b"# " + b"x" * LARGEST, "larger than 256 KiB"),
    ],
)
def test_a_file_that_is_no_text_or_too_large(content, said, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read(path, "the file")


def test_a_file_without_end_is_refused():
    with pytest.raises(UserError, match="the file /dev/zero is larger"):
        read(Path("/dev/zero"), "the file")


@pytest.mark.parametrize("content", [b"a: \xc3\xbc\r\nb: 2\r\n", b"\xef\xbb\xbfa: \xc3\xbc\nb: 2\n"])
def test_line_ends_and_byte_order_marks_make_no_difference(content, tmp_path):
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    assert read(path, "the file")[1] == {"a": "ü", "b": 2}


def test_a_file_is_utf8_whatever_the_locale(tmp_path, monkeypatch):
    path = tmp_path / "file.yaml"
    path.write_bytes(b"a: \xc3\xbc\n")
    code = (
        "from pathlib import Path\nfrom rnnae_bench.options.yaml12 import read, dump\n"
        f"print(dump(read(Path({str(path)!r}), 'it')[1]))"
    )
    for name, value in (("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("PYTHONCOERCECLOCALE", "0")):
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert load(done.stdout.decode("ascii")) == {"a": "ü"}


@pytest.mark.parametrize(
    "value",
    [*(text for text in CORE if text), "010", "1e3", "\U0001f600"],
)
def test_texts_that_look_like_something_else_come_back_as_texts(value):
    for version in (load, yaml.safe_load):
        assert version(dump({"a": [value]})) == {"a": [value]}


def test_numbers_come_back_as_they_are():
    data = {"a": 1e-5, "b": 1e20, "c": 3, "d": -math.inf, "e": None, "f": True, "g": {"h": [0.1 + 0.2, []]}}
    assert load(dump(data)) == data
