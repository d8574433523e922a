"""Tables for LaTeX: what is bold are the ranks' ties, what is special is escaped, and it compiles."""

import re
import shutil
import subprocess

import pytest

from rnnae_bench.api.comparing import compare, standings
from rnnae_bench.cli import main
from rnnae_bench.rankings.standing import standings as standings_of
from rnnae_bench.records.document import record_from
from rnnae_bench.records.store import Store
from rnnae_bench.report import latex_tables
from rnnae_bench.report.latex import escaped

VALUES = {
    "gru": [0.98, 0.97, 0.99, 0.98, 0.96],
    "lstm": [0.97, 0.98, 0.96, 0.99, 0.98],
    "my_rnn": [0.3, 0.25, None, 0.2, 0.22],
    "odd": [0.5, 0.6],
}
DOCUMENT = (
    r"\documentclass{article}\usepackage{booktabs}\usepackage[margin=1cm]{geometry}\begin{document}%s\end{document}"
)


@pytest.fixture(scope="module")
def records(make_document):
    found = []
    for task in ("copy", "my_task"):
        for model, values in VALUES.items():
            for seed, value in enumerate(values):
                overrides = {"model.hidden_size": 64} if model == "lstm" else {}
                record = make_document(
                    value, task=task, model=model, seed=seed, id=f"{len(found):016x}", overrides=overrides
                )
                record["primary"]["metric"] = "recall_%"
                record["baselines"] = {"memory_less": {"recall_%": 0.125}}
                if value is None:
                    record |= {"status": "oom", "failure": {"message": "x", "step": 1, "traceback": None}}
                found.append(record_from(record))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory, records):
    store = Store(tmp_path_factory.mktemp("latex") / "runs")
    for record in records:
        store.write(record, {})
    return store.folder


@pytest.fixture(scope="module")
def tables(folder, records):
    whole = standings(folder)
    return {
        "results": latex_tables.results(records),
        "standing": latex_tables.standing(whole, whole.overview),
        "comparison": latex_tables.comparison(compare("gru", "lstm[hidden_size=64]", source=folder).contrasts),
        "baseline": latex_tables.comparison(compare("gru", "memory_less", source=folder).contrasts),
        "folders": latex_tables.comparison(compare(folder, folder).contrasts),
    }


def rows(table):
    return [line.strip() for line in table.splitlines() if line.endswith("\\\\")]


@pytest.mark.parametrize("name", ["results", "standing", "comparison", "baseline", "folders"])
def test_environments_are_balanced_and_rows_have_as_many_cells_as_columns(tables, name):
    text = tables[name]
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") >= 1
    assert text.count("{") == text.count("}")
    for table in text.split(r"\end{table}")[:-1]:
        columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", table)[1]
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows(table)} == {len(columns)}
        assert [table.count(rule) for rule in (r"\toprule", r"\bottomrule")] == [1, 1]
        assert not [row for row in rows(table) if row.startswith("[")]
        assert re.search(r"\\label\{tab:[\w-]+\}", table)
    body = text.replace(r"\_", "").replace(r"\%", "").removeprefix("% needs")
    assert not re.search(r"[_%#~]", body)


def test_bold_are_the_best_and_who_is_tied_with_it_by_the_ranks(tables, records):
    (copy, _) = standings_of(records)
    best = {escaped(entry.row.label) for entry in copy.entries if entry.ranks is not None and entry.ranks[0] == 1}
    assert best == {"gru", "lstm{[}hidden\\_size=64{]}"}
    for name in ("results", "standing"):
        shown = rows(tables[name].partition("copy-standard}")[2])[:5]
        bold = {label for row in shown for label in re.findall(r"\\textbf\{((?:[^{}$]|\{[^}]*\})+)\}\}", row)}
        assert best <= bold
        assert "my\\_rnn" not in bold
    caption = re.search(r"\\caption\{.*", tables["results"])[0]
    assert "tied" in caption
    assert "2 to 5 seeds" in caption
    assert "a failed trial counts as" in caption.lower()


def test_a_comparison_has_the_difference_its_interval_and_p(tables):
    (row, _) = rows(tables["comparison"])[1:]
    cells = [cell.strip() for cell in row.removesuffix("\\\\").split("&")]
    assert cells[0] == "copy:standard"
    # No difference is established: both are bold.
    assert cells[2] == r"{\boldmath\textbf{$0.976$}}"
    assert r"\textbf" in cells[3]
    assert re.fullmatch(r"\$[+-][\d.]+\$ \{\[\}\$-[\d.]+, \+[\d.]+\$\{\]\}", cells[4])
    assert 0.05 < float(cells[5].strip("$")) <= 1
    assert cells[6] == "5"
    (row, _) = rows(tables["baseline"])[1:]
    assert row.count(r"\textbf") == 1


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["results"], "results"),
        (["leaderboard", "show"], "standing"),
        (["compare", "gru", "lstm[hidden_size=64]", "--from"], "comparison"),
    ],
)
def test_the_command_prints_the_table_and_nothing_else(command, name, folder, tables, capsys):
    assert main([*command, str(folder), "--latex"]) == 0
    assert capsys.readouterr().out == f"{tables[name]}\n"


def test_a_choice_of_rows_counts_failures_as_the_whole_folder_does(records):
    chosen = [record for record in records if record.model == "my_rnn" and record.task == "copy"]
    whole = latex_tables.results([record for record in records if record.task == "copy"])
    cell = re.search(r"my\\_rnn & 5 & (.*?) &", whole)[1]
    assert cell in latex_tables.results(chosen, records)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_all_tables_compile(tables, tmp_path):
    text = "\\clearpage\n".join(tables.values())
    (tmp_path / "paper.tex").write_text(DOCUMENT % f"\n{text}\n")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").is_file()
