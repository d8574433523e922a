"""CITATION.cff says how to cite this version."""

from pathlib import Path

import yaml

import rnnae_bench

CITATION = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text())


def test_it_has_what_the_citation_file_format_demands():
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["message"]
    assert CITATION["title"].startswith("rnnae-bench")
    assert CITATION["type"] == "software"
    assert all("name" in author or "family-names" in author for author in CITATION["authors"])
    assert CITATION["authors"]
    assert CITATION["license"] == "Apache-2.0"
    assert all(isinstance(keyword, str) for keyword in CITATION["keywords"])


def test_it_is_of_this_version():
    assert CITATION["version"] == rnnae_bench.__version__
