"""BibTeX: every built-in model and task has entries, they parse, and a plugin's come by the same door."""

from pathlib import Path

import bibtexparser
import pytest

import rnnae_bench.models
from rnnae_bench.cli import main
from rnnae_bench.cli.descriptions import bibtex_of
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.references import FILE, entries_of
from rnnae_bench.plugins.registry import models, tasks

MODELS = Path(next(iter(rnnae_bench.models.__path__)))
TASKS = Path(tasks().get("copy").source().path).parent.parent
REQUIRED = {
    "article": {"author", "title", "year", "journal"},
    "inproceedings": {"author", "title", "year", "booktitle"},
    "book": {"author", "title", "year", "publisher"},
    "techreport": {"author", "title", "year", "institution"},
    "unpublished": {"author", "title", "note"},
    "misc": {"title"},
}


def parsed(text):
    library = bibtexparser.parse_string(text)
    assert not library.failed_blocks
    return library.entries


def test_every_built_in_has_entries():
    cited = {MODELS: set(), TASKS: set()}
    for registry, folder in ((models(), MODELS), (tasks(), TASKS)):
        for handle in registry.handles():
            if handle.distribution == "rnnae-bench":
                entries = parsed("\n\n".join(bibtex_of(handle)))
                assert entries, handle.name
                cited[folder] |= {entry.key for entry in entries}
    for folder, keys in cited.items():
        assert {entry.key for entry in parsed((folder / FILE).read_text(encoding="utf-8"))} == keys, "none is left over"


@pytest.mark.parametrize("folder", [MODELS, TASKS], ids=lambda folder: folder.name)
def test_every_entry_parses_and_has_the_fields_of_its_type(folder):
    entries = parsed((folder / FILE).read_text(encoding="utf-8"))
    assert len({entry.key for entry in entries}) == len(entries) > 30
    for entry in entries:
        fields = {field.key: field.value for field in entry.fields}
        assert REQUIRED[entry.entry_type] <= fields.keys(), entry.key
        assert all(fields.values()), entry.key
        if "year" in fields and entry.key[-4:].isdigit():
            assert fields["year"] == entry.key[-4:], entry.key


def test_an_entry_is_the_same_wherever_it_stands():
    first, second = (
        {entry.key: {field.key: field.value for field in entry.fields} for entry in parsed((folder / FILE).read_text())}
        for folder in (MODELS, TASKS)
    )
    assert first.keys() & second.keys() >= {"hochreiter1997", "le2015"}
    for key in first.keys() & second.keys():
        assert first[key] == second[key]


def test_a_plugin_gives_its_own(install, tmp_path, capsys):
    bib = "@misc{mine2024,\n  title = {A {Brace} of Things},\n}\n@comment{not this}\n@misc{other, title = {Other}}\n"
    code = 'class Cited:\n    """A model."""\n\n    bibtex: tuple[str, ...] = ("mine2024",)\n'
    install("cites", {"cites.py": code, FILE: bib}, models={"cited": "cites:Cited"})
    assert main(["show", "cited", "--bibtex"]) == 0
    assert capsys.readouterr().out == "@misc{mine2024,\n  title = {A {Brace} of Things},\n}\n"


def test_a_key_that_is_missing_hides_nothing_else(install, capsys):
    code = 'class Lost:\n    """A model."""\n\n    bibtex = ("nowhere",)\n'
    install("loses", {"loses.py": code}, models={"lost": "loses:Lost"})
    assert main(["show", "lost"]) == 0
    assert main(["show", "lost", "--bibtex"]) == 2
    assert "the model 'lost' cites 'nowhere', and no references.bib" in capsys.readouterr().err


def test_what_cites_nothing_says_so(install, capsys):
    install("silent", {"silent.py": 'class Silent:\n    """A model."""\n'}, models={"silent": "silent:Silent"})
    assert main(["show", "silent", "--bibtex"]) == 0
    assert capsys.readouterr().out == "% the model silent names nothing to cite\n"


def test_a_key_that_no_file_has_is_refused(tmp_path):
    module = tmp_path / "deep" / "module.py"
    (tmp_path / FILE).parent.mkdir(exist_ok=True)
    (tmp_path / FILE).write_text("@misc{above, title = {Above}}\n")
    assert entries_of("it", ["above"], "top.deep.module", module) == ["@misc{above, title = {Above}}"]
    with pytest.raises(UserError, match=r"it cites 'above', and no references\.bib"):
        entries_of("it", ["above"], "module", module)
