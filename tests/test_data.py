"""Downloads: whole and checked, or refused in one line."""

import re

import pytest

from rnnae_bench.data import checksum, fetch
from rnnae_bench.errors import UserError


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "published" / "digits.csv"
    path.parent.mkdir()
    path.write_bytes(b"7,2,1,0,4\n" * 1000)
    return path


def test_a_file_is_fetched_once_into_the_cache(published, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wanted = checksum(published)
    found = fetch(published.as_uri(), wanted)
    assert found.read_bytes() == published.read_bytes()
    assert found == tmp_path / "cache" / "rnnae-bench" / wanted[:16] / "digits.csv"
    published.unlink()
    assert fetch(published.as_uri(), wanted) == found


def test_another_file_is_refused_and_not_kept(published, tmp_path):
    folder = tmp_path / "data"
    with pytest.raises(UserError, match=r"^what came from .* is another file: invalid hash value.*new address$"):
        fetch(published.as_uri(), "0" * 64, folder)
    assert not [*folder.iterdir()]
    (folder / "digits.csv").write_text("changed")
    with pytest.raises(UserError, match=rf"^{folder / 'digits.csv'} is not the file behind .*delete it"):
        fetch(published.as_uri(), checksum(published), folder)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/digits.csv", "file:///nowhere/digits.csv", "gopher:/digits.csv"])
def test_what_can_not_be_reached_is_told_in_a_line(url, tmp_path):
    with pytest.raises(UserError, match=rf"^cannot download {re.escape(url)} \(.+\); put digits.csv in {tmp_path}"):
        fetch(url, "0" * 64, tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(("url", "sha256"), [("http://127.0.0.1:9/", "0" * 64), ("http://127.0.0.1:9/a", "0" * 63)])
def test_an_address_without_a_file_or_no_checksum_is_refused(url, sha256, tmp_path):
    with pytest.raises(UserError, match="give the address of a file and 64 hex digits"):
        fetch(url, sha256, tmp_path)
