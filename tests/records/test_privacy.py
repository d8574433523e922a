"""Nothing personal and no secret is in a record, and no text without end."""

import getpass
import json
import socket
import sysconfig
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from rnnae_bench.records import privacy
from rnnae_bench.records.document import LARGEST
from rnnae_bench.records.privacy import publishable, with_home, without_secrets
from rnnae_bench.records.record import Failure
from rnnae_bench.records.store import Store

HOME = "/somewhere/of/alice"


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", HOME)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("postgresql+psycopg://me:s3cret@db:5432/optuna", "postgresql+psycopg://me:***@db:5432/optuna"),
        ("mysql://me:a@b/c?d#e@db/x", "mysql://me:***@db/x"),
        ("https://ghp_0123@github.com/x", "https://***@github.com/x"),
        ("http://h/?user=me&password=a%20b&sslmode=on", "http://h/?user=me&password=***&sslmode=on"),
        ("gru[api_key=abc,layers=2]", "gru[api_key=***,layers=2]"),
        ("connect(host='h', passwd=hunter2)", "connect(host='h', passwd=***)"),
        ("{'auth-key': 'abc', \"password\": \"d e\"}", "{'auth-key': '***', \"password\": \"***\"}"),
        ("--model.tokens=64 token=7 unexpected token: x", "--model.tokens=64 token=7 unexpected token: x"),
    ],
)
def test_secrets_are_hidden_wherever_they_stand(text, told):
    assert without_secrets(text) == told
    assert without_secrets(told) == told


def test_a_secret_of_the_environment_is_hidden(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    assert without_secrets("401 for key 0123456789abcdef") == "401 for key ***"


def test_a_written_record_has_no_secret_and_no_place(tmp_path, make_record, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "alices-laptop")
    user, work = getpass.getuser(), Path.cwd()
    trace = [f"{place}/x.py" for place in (HOME, "/home/bob", work, sysconfig.get_paths()["stdlib"], f"/data/{user}")]
    record = make_record(
        status="error",
        overrides={"task.folder": f"{HOME}/digits", "model.api_key": "abc"},
        configuration={"task": {"folder": f"{HOME}/digits"}, "model": {"size": 3, "names": ["a", HOME]}, "trainer": {}},
        command=[
            *("rnnae-bench", "sweep", "--out", f"{HOME}/runs", "--search-storage", "mysql://a:pw@h/d"),
            *("--wandb-token", "xyz", "--model.token", "5"),
        ],
        failure={"message": f"alices-laptop: no {HOME}/x", "step": 1, "traceback": "\n".join([*trace, torch.__file__])},
    )
    (found,) = [json.loads(Store(tmp_path).write(record, {}).read_text())]
    assert found["command"] == [
        *("rnnae-bench", "sweep", "--out", "~/runs", "--search-storage", "mysql://a:***@h/d"),
        *("--wandb-token", "***", "--model.token", "5"),
    ]
    assert found["overrides"] == {"task.folder": "~/digits", "model.api_key": "***"}
    assert found["configuration"]["model"] == {"size": 3, "names": ["a", "~"]}
    assert found["failure"]["message"] == "***: no ~/x"
    assert found["failure"]["traceback"].splitlines() == [
        *("~/x.py", "~/x.py", "./x.py", "python/x.py", "/data/***/x.py", "site-packages/torch/__init__.py")
    ]
    (written,) = Store(tmp_path).read().records
    assert publishable(written) == written


def test_a_home_comes_back_where_a_record_is_run_again(monkeypatch):
    told = privacy.options_without_home({"task": {"folder": f"{HOME}/digits", "note": "~x"}})
    assert told == {"task": {"folder": "~/digits", "note": "~x"}}
    monkeypatch.setenv("HOME", "/elsewhere")
    assert with_home(told) == {"task": {"folder": "/elsewhere/digits", "note": "~x"}}


def test_an_options_symbols_are_no_secrets():
    """They determine the result: without them two trials would have one id."""
    told = {"model": {"pad_token": "<pad>", "token": "eos", "keys": "a b"}, "task": {"hf_token": "hf_abc"}}
    assert privacy.options_without_home(told) == {**told, "task": {"hf_token": "***"}}


def test_a_text_without_end_is_cut_in_the_middle(tmp_path, make_record):
    endless = "begin" + "lost \ud800" * 10**6 + "end"
    failure = Failure(message=endless, step=None, traceback=endless)
    path = Store(tmp_path).write(replace(make_record(status="error"), failure=failure), {})
    assert path.stat().st_size < LARGEST / 20
    (found,) = Store(tmp_path).read().records
    assert found.failure.message.startswith("begin")
    assert found.failure.message.endswith("end")
    assert len(found.failure.message) <= privacy.LONGEST_MESSAGE
    assert len(found.failure.traceback) <= privacy.LONGEST_TRACEBACK
    assert "\ud800" not in found.failure.message
