"""Results, standings and comparisons as LaTeX tables, the best rows and those tied with them in bold."""

from collections.abc import Iterable, Sequence

from rnnae_bench.rankings.contrast import Contrast, Side
from rnnae_bench.rankings.overview import Overview
from rnnae_bench.rankings.standing import LEVEL, Entry, Standing, standings
from rnnae_bench.records.record import Record
from rnnae_bench.report.latex import NEEDS, LatexTable, bold, escaped, estimated, label, plain, plus_minus
from rnnae_bench.report.standing_tables import rank
from rnnae_bench.report.tables import FAILURE_COUNTS, Section, sections, solved

_TIES = (
    "Bold: the best row and all that are tied with it, as no other is established to be better (moderated t tests of "
    f"all pairs on shared seeds, Holm's correction, p <= {LEVEL:g})"
)


def results(records: Iterable[Record], among: Iterable[Record] | None = None) -> str:
    """A table a task setting: mean and standard deviation over seeds.

    Args:
        records: What is shown, and ranked among itself.
        among: All that are known, of which `records` are a choice; what a failed trial counts as rests on them.
    """
    records = list(records)
    known = {one.setting: one for one in standings(records, among=among)}
    return _document(_section(one, known[one.setting]) for one in sections(records, among))


def _section(section: Section, standing: Standing) -> LatexTable:
    best = {identity for entry in standing.entries if is_best(entry) for identity in entry.row.ids}
    caption = [f"{section.title}: mean and standard deviation over {_seeds(standing)}", *_remarks(standing)]
    table = LatexTable(
        label("results", section.setting),
        _sentences(caption, section.note),
        ("model", "seeds", escaped(section.metric), "score", "solved", "parameters"),
        "lrrrrr",
    )
    for row in section.rows:
        cells = [
            escaped(_named(row.label, row.layout, [one.label for one in section.rows])),
            str(row.trials),
            plus_minus(row.mean, row.sd),
            "--" if row.score is None else f"${row.score:z.3f}$",
            solved(row, "--"),
            plain(row.parameters),
        ]
        table.rows.append(_emphasised(cells, (0, 2), bool(best & set(row.ids))))
    for name, value in section.baselines.items():
        note = " (floor)" if value == section.floor else ""
        table.below.append((rf"\textit{{{escaped(name)}}}{note}", "", plain(float(value)), "", "", ""))
    return table


def standing(found: Sequence[Standing], overview: Overview | None = None) -> str:
    """A table a task setting with ranks, means and scores; the overview of several first."""
    tables = [] if overview is None or not overview.models else [_overview(overview, found)]
    return _document([*tables, *map(_standing, found)])


def _standing(one: Standing) -> LatexTable:
    better = "higher" if one.direction == "maximize" else "lower"
    caption = [
        f"{one.setting}: {one.metric}, {better} is better: mean with its 95 % confidence interval over {_seeds(one)}",
        "Rank: those that the data leave open",
        *_remarks(one),
    ]
    table = LatexTable(
        label("leaderboard", one.setting),
        _sentences(caption, FAILURE_COUNTS if any(entry.failed for entry in one.entries) else ""),
        ("rank", "model", "seeds", escaped(one.metric), "score", "solved"),
        "rlrrrr",
    )
    labels = [entry.row.label for entry in one.entries]
    for entry in one.entries:
        cells = [
            rank(entry, "--") or "--",
            escaped(_named(entry.row.label, entry.row.layout, labels)),
            str(len(entry.values)),
            estimated(entry.mean),
            estimated(entry.score),
            solved(entry.row, "--"),
        ]
        table.rows.append(_emphasised(cells, (0, 1, 3), is_best(entry)))
    for name, value in one.baselines.items():
        note = " (floor)" if value == one.floor else ""
        table.below.append(("", rf"\textit{{{escaped(name)}}}{note}", "", plain(float(value)), "", ""))
    return table


def _overview(overview: Overview, found: Sequence[Standing]) -> LatexTable:
    best = {(entry.row.label, one.setting) for one in found for entry in one.entries if is_best(entry)}
    caption = [
        "Scores, 0 = floor, 1 = ceiling; overall: the mean over the task variants with its 95 % confidence interval, "
        "of models that are ranked on all of them",
        _TIES,
    ]
    table = LatexTable(
        label("overview"),
        _sentences(caption),
        ("model", "overall", *map(escaped, overview.settings)),
        "lr" + "r" * len(overview.settings),
    )
    for model in overview.models:
        cells = [escaped(model), estimated(overview.overall.get(model))]
        for setting in overview.settings:
            score = overview.scores.get((model, setting))
            cell = "--" if score is None else f"${score.value:z.3f}$"
            cells.append(bold(cell) if score is not None and (model, setting) in best else cell)
        table.rows.append(cells)
    return table


def comparison(contrasts: Sequence[Contrast]) -> str:
    """One table, a row a task setting: both means, the difference with its interval, and p.

    Args:
        contrasts: One at least, of two models, or of the same models in two folders.
    """
    sides = contrasts[0].first, contrasts[0].second
    of_folders = sides[0].name != sides[0].entry.row.label and sides[0].entry.row.label == sides[1].entry.row.label
    names = [side.name.removesuffix(f": {side.entry.row.label}") if of_folders else side.name for side in sides]
    seeds = sorted({one.comparison.seeds for one in contrasts})
    caption = [
        f"{names[0]} (first) and {names[1]} (second): means over the trials of each, and the first less the second "
        f"with its 95 % confidence interval over {_counted(seeds)} that both have; p: paired t test of these two alone",
        f"Bold: the better one; both, where no difference is established (p > {LEVEL:g})",
    ]
    if any(side.entry.failed for one in contrasts for side in (one.first, one.second)):
        caption.append(FAILURE_COUNTS)
    heads = ("first", "second") if of_folders else map(escaped, names)
    table = LatexTable(
        label("comparison", *names),
        _sentences(caption),
        ("task", *(["model"] if of_folders else []), "metric", *heads, "difference", "$p$", "seeds"),
        "l" * (2 + of_folders) + "rrrrr",
    )
    for one in contrasts:
        verdict = one.comparison.verdict
        table.rows.append(
            (
                escaped(one.standing.setting),
                *([escaped(one.first.entry.row.label)] if of_folders else []),
                escaped(one.standing.metric),
                _side(one.first, verdict in ("better", "tied")),
                _side(one.second, verdict in ("worse", "tied")),
                estimated(one.comparison.difference, signed=True),
                _probability(one.comparison.p),
                str(one.comparison.seeds),
            )
        )
    return _document([table])


def is_best(entry: Entry) -> bool:
    """Whether no other ranked entry of its standing is established to be better."""
    return entry.ranks is not None and entry.ranks[0] == 1


def _side(side: Side, emphasised: bool) -> str:
    """The mean, to the digits that its interval leaves a meaning."""
    value = plain(side.entry.row.mean) if side.is_baseline else estimated(side.entry.mean, with_interval=False)
    return bold(value) if emphasised else value


def _probability(p: float | None) -> str:
    return "--" if p is None else "$<0.001$" if p < 0.001 else f"${p:.2g}$"


def _remarks(standing: Standing) -> list[str]:
    """What ties mean; and which rows were not ranked."""
    ranked = any(entry.ranks is not None for entry in standing.entries)
    without = [f"{entry.row.label} ({entry.unranked})" for entry in standing.entries if entry.unranked]
    said = [_TIES] if ranked else []
    return [*said, f"Without a rank: {', '.join(without)}"] if without else said


def _seeds(standing: Standing) -> str:
    return _counted(sorted({len(entry.values) for entry in standing.entries}))


def _counted(numbers: Sequence[int]) -> str:
    least, most = numbers[0], numbers[-1]
    return f"{most} seed{'s' * (most != 1)}" if least == most else f"{least} to {most} seeds"


def _named(name: str, layout: str, all_names: Sequence[str]) -> str:
    """A row's label, with devices and precision where several rows have it."""
    return name if all_names.count(name) == 1 else f"{name}, {layout}"


def _emphasised(cells: Sequence[str], places: Sequence[int], is_bold: bool) -> list[str]:
    return [bold(cell) if is_bold and place in places else cell for place, cell in enumerate(cells)]


def _sentences(parts: Sequence[str], note: str = "") -> str:
    said = [*parts, *([note] if note else [])]
    text = ". ".join(one[0].upper() + one[1:] if place else one for place, one in enumerate(said)) + "."
    return escaped(text).replace(r"p \textless{}= ", r"$p \leq$ ").replace(r"p \textgreater{} ", r"$p >$ ")


def _document(tables: Iterable[LatexTable]) -> str:
    return "\n\n".join([NEEDS, *map(str, tables)])
