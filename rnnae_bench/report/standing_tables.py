"""Standings and the overview as tables: for the terminal and as Markdown."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from rich.console import Console, Group
from rich.table import Table

from rnnae_bench.rankings.overview import Overview
from rnnae_bench.rankings.references import Reference
from rnnae_bench.rankings.standing import Entry, Estimate, Standing
from rnnae_bench.report.tables import FAILURE_COUNTS, empty, framed, markdown_text, narrowed, number, solved
from rnnae_bench.report.text import Text
from rnnae_bench.statistics.proportions import WIDTH


def interval(estimate: Estimate | None) -> str:
    """An estimate with its interval; a dash for None."""
    return "-" if estimate is None else estimate.text()


def rank(entry: Entry, to: str = "-") -> str:
    """The ranks that are compatible with the data: ``2``, ``2-4``; nothing for an entry without a rank.

    Args:
        entry: The entry.
        to: What stands between two ranks.
    """
    if entry.ranks is None:
        return ""
    first, last = entry.ranks
    return f"{first}" if first == last else f"{first}{to}{last}"


def seeds(entry: Entry) -> str:
    """Seeds with a value; why it is not ranked, where it is not."""
    return entry.unranked or str(len(entry.values))


def reference_name(one: Reference) -> str:
    """A baseline's name, with what it is."""
    kinds = {"floor": one.is_floor, "ceiling": one.is_ceiling}
    return f"{one.name} ({' and '.join(kind for kind, is_it in kinds.items() if is_it) or 'baseline'})"


def reference_rank(one: Reference, to: str = "-") -> str:
    """The ranks that a baseline may have beside the ranked models, in parentheses; nothing where there are none.

    Args:
        one: The baseline.
        to: What stands between two ranks.
    """
    if one.ranks is None:
        return ""
    first, last = one.ranks
    return f"({first})" if first == last else f"({first}{to}{last})"


@dataclass(frozen=True)
class _Column:
    head: str
    cell: Callable[[Entry], str]
    of_reference: Callable[[Reference], str] = lambda one: ""

    def text(self, one: Entry | Reference) -> str:
        """The cell of a row, be it a model's or a baseline's."""
        return self.of_reference(one) if isinstance(one, Reference) else self.cell(one)


_COLUMNS = (
    _Column("rank", lambda entry: rank(entry) or "-", reference_rank),
    _Column("model", lambda entry: entry.row.label, reference_name),
    _Column("seeds", seeds),
    _Column("mean", lambda entry: interval(entry.mean), lambda one: number(one.value)),
    _Column("IQM", lambda entry: interval(entry.iqm), lambda one: number(one.value)),
    _Column("score", lambda entry: interval(entry.score), lambda one: number(one.score)),
    _Column("solved", lambda entry: solved(entry.row), lambda one: "yes" if one.solves else "no"),
    _Column("not ok", lambda entry: entry.row.failures or "-"),
    _Column("on", lambda entry: entry.row.layout),
)

_COUNTED = _Column(
    "solved", lambda entry: f"{entry.row.solved}/{entry.row.tried}", lambda one: "yes" if one.solves else "no"
)

_DISPENSABLE = ("score", "on", "solved", "solved", "mean")
"""Columns that a narrow console does without, the first to go first; the first "solved" is its interval alone."""

_LEGEND = (
    "rank: those that are compatible with the data, by moderated t tests of all pairs on shared seeds, corrected for "
    "their number by Holm's method; in parentheses that of a baseline, which needs no training by gradient, beside the "
    "ranked models, by their intervals; IQM: interquartile mean; brackets: 95 % confidence over seeds; score: of the "
    "mean, 0 = floor, 1 = ceiling; solved: trials that reached the solved threshold on the test set, in parentheses "
    f"the 95 % interval of that probability (Wilson), and of a baseline whether it does; {FAILURE_COUNTS}"
)


def title(standing: Standing) -> str:
    """Task variant, metric and direction in a line."""
    better = "higher" if standing.direction == "maximize" else "lower"
    return f"{standing.setting}: {standing.metric}, {better} is better"


def resolution(standing: Standing) -> str:
    """What the seeds can tell apart at most, in words; nothing where there are no two ranked entries.

    It is for two means with the spread that the pairs have on average, tested with all others.
    """
    if standing.smallest is None:
        return ""
    spoken = {5: "five"}.get(standing.seeds, str(standing.seeds))
    ranked = sum(entry.ranks is not None for entry in standing.entries)
    return (
        f"smallest difference that {spoken} seeds tell apart here: {standing.smallest:.2g} {standing.metric} "
        f"(two of {ranked} ranked rows, of average spread)"
    )


def seeds_needed(standing: Standing) -> str:
    """How many more seeds would tell how often the ranked models solve the task, in words; nothing where they do."""
    needed = [entry.row.more_seeds for entry in standing.entries if entry.ranks is not None]
    most = max((more for more in needed if more is not None), default=0)
    if not most:
        return ""
    return f"with {most} more seeds a row, every interval of solved would probably be {WIDTH} wide or less"


def unequal(standing: Standing) -> str:
    """That the ranked models are of several sizes, or not all tuned, in words; nothing where they are alike."""
    return f"not on equal terms: {'; '.join(standing.unequal)}" if standing.unequal else ""


def _columns(standing: Standing) -> list[_Column]:
    """The columns that say something: not the layout where all have the same, nor failures where there are none."""
    columns = list(_COLUMNS)
    for head in ("not ok", "on"):
        column = next(one for one in columns if one.head == head)
        said = {column.cell(entry) for entry in standing.entries}
        if said == {"-"} or (head == "on" and len(said) == 1):
            columns.remove(column)
    return columns


def _notes(standing: Standing, columns: Sequence[_Column]) -> str:
    """What stands below a table: the layout that is in no column, and what its seeds tell."""
    layouts = {entry.row.layout for entry in standing.entries}
    notes = []
    if len(layouts) == 1 and all(column.head != "on" for column in columns):
        notes.append(f"on {layouts.pop()}")
    return "; ".join([*notes, *filter(None, (resolution(standing), seeds_needed(standing), unequal(standing)))])


def terminal(standings: Sequence[Standing], console: Console) -> Iterator[Group | Text]:
    """Rich tables, one a standing, then what the columns mean; where the console is narrow, columns go."""
    for standing in standings:
        columns = _columns(standing)
        notes = _notes(standing, columns)
        table, left_out = narrowed(columns, _DISPENSABLE, partial(_table, standing), console, _COUNTED)
        yield framed(title(standing), table, "; ".join(filter(None, (notes, left_out))))
    if standings:
        yield Text(_LEGEND, style="dim italic")


def _table(standing: Standing, columns: Sequence[_Column]) -> Table:
    table = empty()
    for column in columns:
        words = column.head in ("model", "not ok")
        table.add_column(
            column.head,
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
            max_width=40 if words else None,
        )
    for one in standing.in_order:
        style = "dim italic" if isinstance(one, Reference) else "dim" if one.unranked else ""
        table.add_row(*(Text(column.text(one)) for column in columns), style=style)
    return table


def terminal_overview(overview: Overview) -> Group:
    """The overview as a rich table: scores by model and setting."""
    table = empty()
    table.add_column("model", overflow="fold")
    for head in ("overall", *overview.settings):
        table.add_column(Text(head), justify="right", overflow="fold")
    for model, *cells in _overview_rows(overview):
        table.add_row(Text(model), *map(Text, cells))
    return framed("overview: scores, 0 = floor, 1 = ceiling", table, _overview_note(overview))


def _overview_rows(overview: Overview) -> Iterator[list[str]]:
    for model in overview.models:
        yield [
            model,
            interval(overview.overall.get(model)),
            *(_score(overview.scores.get((model, setting))) for setting in overview.settings),
        ]


def _score(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:z.3f}"


def _overview_note(overview: Overview) -> str:
    counted = list(dict.fromkeys(settings for settings in overview.counted.values() if settings))
    over = "; ".join(", ".join(settings) for settings in counted)
    note = f"overall: mean of the scores on {over}, with 95 % confidence" if over else ""
    without = [model for model in overview.models if model not in overview.overall]
    if over and without:
        note += "; none for who has no ranked entry in one of them: " + ", ".join(without)
    return note


def markdown(standings: Sequence[Standing], overview: Overview | None = None) -> str:
    """The same tables in Markdown; model names and statuses are text, never markup."""
    lines: list[str] = []
    if overview is not None and overview.models:
        lines += ["### Overview", ""]
        lines += markdown_table(["model", "overall", *overview.settings], list(_overview_rows(overview)))
        lines += ["", markdown_text(_overview_note(overview)), ""]
    for standing in standings:
        columns = _columns(standing)
        lines += [f"### {markdown_text(title(standing))}", ""]
        lines += markdown_table(
            [column.head for column in columns],
            [[column.text(one) for column in columns] for one in standing.in_order],
        )
        lines += ["", markdown_text(_notes(standing, columns)), ""]
    if standings:
        lines += [markdown_text(_LEGEND), ""]
    return "\n".join(lines)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown, its cells text and never markup."""
    lines = [[markdown_text(cell) for cell in row] for row in (heads, *rows)]
    lines.insert(1, ["---"] * len(heads))
    return ["| " + " | ".join(line) + " |" for line in lines]
