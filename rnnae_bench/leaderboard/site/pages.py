"""The pages of the site as HTML. What a record says becomes text, never markup, an address or a script."""

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rnnae_bench import __version__
from rnnae_bench.leaderboard.site.data import Histories, for_overview, for_record, for_task, seconds_to_solved
from rnnae_bench.rankings.bridging import needed_lag
from rnnae_bench.rankings.overview import Overview
from rnnae_bench.rankings.standing import Entry, Standing
from rnnae_bench.records.document import document_of
from rnnae_bench.records.record import Record
from rnnae_bench.report.standing_tables import rank, reference_name, reference_rank, resolution, seeds_needed, unequal
from rnnae_bench.report.tables import FAILURE_COUNTS, number, solved

_DEPTH = 4
"""Nested options are spread into dotted names this deep; what lies deeper is shown as JSON."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rnnae_bench.leaderboard.site"),
        autoescape=True,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    # Neither NaN nor anything that ends a script element: tojson escapes <, >, & and '.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":"), "sort_keys": True}
    environment.globals.update(version=__version__, slug=slug, rank=partial(rank, to="–"))
    environment.globals.update(reference_name=reference_name, reference_rank=partial(reference_rank, to="–"))
    environment.globals.update(solved=partial(solved, to="–"), failure_counts=FAILURE_COUNTS)
    environment.globals.update(resolution=resolution, seeds_needed=seeds_needed, unequal=unequal)
    environment.filters["number"] = shown
    return environment


def _render(template: str, **context: Any) -> str:
    return _environment().get_template(f"{template}.html.jinja").render(**context)


def overview_page(tables: Sequence[Standing], whole: Overview, records: Iterable[Record]) -> str:
    """The front page: models by task variants, overall scores, performance profiles."""
    records = list(records)
    return _render(
        "overview",
        root="",
        whole=whole,
        tables=tables,
        statuses=Counter(record.status for record in records).most_common(),
        trials=len(records),
        ranked={(entry.row.model, table.setting) for table in tables for entry in table.entries if entry.ranks},
        devices=sorted({record.environment.device for record in records}),
        data=for_overview(whole),
    )


def task_page(
    standing: Standing,
    records: Mapping[str, Record],
    rows: Sequence[Mapping[str, Any]],
    relation: str,
    samples: Mapping[str, str],
) -> str:
    """The page of a task variant.

    Args:
        standing: Its standing.
        records: Its records, by id.
        rows: What the charts draw of each entry, as from `rnnae_bench.leaderboard.site.data.for_entry`.
        relation: How gradients at the needed lag go with the score, in a sentence; may be empty.
        samples: By row, the id of the trial whose samples are drawn beside its page.
    """
    known = (needed_lag(records[identity]) for entry in standing.entries for identity in entry.row.ids)
    needed = next((lag for lag in known if lag is not None), None)
    return _render(
        "task",
        root="../",
        standing=standing,
        trials={entry.key: [records[identity] for identity in entry.row.ids] for entry in standing.entries},
        seconds_to_solved=seconds_to_solved,
        needed=needed,
        why=[(row["label"], row["why"]) for row in rows if row["why"]],
        relation=relation,
        samples=samples,
        data=for_task(standing, rows, needed),
    )


def model_page(
    name: str, results: Sequence[tuple[Standing, Entry]], whole: Overview, records: Mapping[str, Record]
) -> str:
    """The page of a model: its results on all task variants, its hyper-parameters.

    Args:
        name: The model.
        results: Its entries, each with the standing that it is in.
        whole: Models by task variants.
        records: The entries' records, by id.
    """
    settings = {
        f"{table.setting} {entry.row.label}": records[entry.row.ids[0]].configuration.model for table, entry in results
    }
    return _render("model", root="../", name=name, results=results, whole=whole, options=_compared(settings))


def record_page(record: Record, series: Histories | None, setting: str, label: str, has_samples: bool) -> str:
    """The page of a trial.

    Args:
        record: Its record.
        series: Its histories; None where they can't be read.
        setting: The task setting that it is of.
        label: The row that it is in.
        has_samples: Whether its samples are drawn beside the page.
    """
    data = None if series is None else for_record(record, series)
    return _render(
        "record",
        root="../",
        record=record,
        setting=setting,
        label=label,
        command=shlex.join(record.command),
        sections=[_pairs(title, rows) for title, rows in _sections(record) if rows],
        data=data,
        why=data["why"] if data else "",
        has_samples=has_samples,
    )


@lru_cache(maxsize=256)
def _pairs(title: str, rows: tuple[tuple[str, str], ...]) -> Markup:
    """A table of names and values; many trials have most of theirs in common."""
    return Markup(_render("pairs", title=title, rows=rows))


def slug(name: str) -> str:
    """A file name for a model or a task setting: lower case, and the same for no two names.

    >>> slug("copy:standard"), slug("Copy/../x")
    ('copy.standard', 'copy-x-aefc9439')
    """
    if re.fullmatch(r"[a-z0-9_]{1,64}(:[a-z0-9_]{1,64})?", name):
        return name.replace(":", ".")
    plain = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:48]
    return f"{plain or 'name'}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def shown(value: Any) -> str:
    """A number with four significant digits, a dash for None; whatever else a record has there, as it is."""
    return number(value) if value is None or isinstance(value, int | float) else str(value)


def spread(options: Mapping[str, Any], prefix: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, str]]:
    """Nested options as dotted names and text.

    >>> list(spread({"hidden_size": 8, "optimization": {"clip": None}}))
    [('hidden_size', '8'), ('optimization.clip', 'null')]
    """
    for name, value in options.items():
        if isinstance(value, Mapping) and value and depth:
            yield from spread(value, f"{prefix}{name}.", depth - 1)
        else:
            yield f"{prefix}{name}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.7g}"
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "(nested too deep to show)"


def _compared(settings: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, dict[str, list[str]]]]:
    """By option: its name, its most common value, and the rows in which it is another, by value."""
    spreads = {row: dict(spread(options)) for row, options in settings.items()}
    found = []
    for name in dict.fromkeys(name for options in spreads.values() for name in options):
        by_value: dict[str, list[str]] = {}
        for row, options in spreads.items():
            by_value.setdefault(options.get(name, "-"), []).append(row)
        common = max(by_value, key=lambda value: len(by_value[value]))
        found.append((name, common, {value: rows for value, rows in by_value.items() if value != common}))
    return found


def _sections(record: Record) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """What a record says, by subject."""
    document = document_of(record)
    for part in ("model", "task", "trainer"):
        yield part.capitalize(), tuple(spread(document["configuration"][part]))
    for part in ("metrics", "baselines", "measures", "environment", "fingerprints"):
        yield part.capitalize(), tuple(spread(document[part]))
