"""The files that a forge shows: they are there, and the workflow runs the README's own test command."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_the_workflow_runs_the_readmes_test_command():
    (command,) = re.findall(r"^\$ (.*tox)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    steps = [step["run"] for step in workflow["jobs"]["tests"]["steps"] if "run" in step]
    assert steps == [command]
    assert command in (ROOT / ".github/pull_request_template.md").read_text()


def test_templates_have_a_name_and_say_what_they_are_for():
    for template in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.md"):
        head = yaml.safe_load(template.read_text().split("---")[1])
        assert {"name", "about"} <= head.keys(), template.name


def test_addresses_are_of_one_repository():
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    assert all(url.startswith(urls["Repository"]) for url in urls.values())
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["repository-code"] == urls["Repository"]
    assert urls["Repository"] in (ROOT / "mkdocs.yml").read_text()
    assert all((ROOT / name).is_file() for name in ("CODE_OF_CONDUCT.md", "SECURITY.md", "LICENSE"))
