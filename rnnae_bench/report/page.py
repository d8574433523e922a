"""One HTML page over records: tables and pictures in a single file that opens without a network."""

import base64
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files

from jinja2 import Environment, select_autoescape

from rnnae_bench import __version__
from rnnae_bench.records.history import Series
from rnnae_bench.records.record import Record
from rnnae_bench.report import tables, why
from rnnae_bench.report import trial_picture as plots
from rnnae_bench.report.samples import picture as samples_picture
from rnnae_bench.report.samples.kinds import Samples


def page(
    records: Iterable[Record],
    among: Iterable[Record],
    series_of: Callable[[Record], Mapping[str, Series]],
    samples_of: Callable[[Record], Samples | None],
) -> str:
    """The page as HTML. What the records say is shown as text, never as markup; `among` as in `summarize`.

    Each row shows the pictures of its first seed's trial, drawn of the histories that `series_of` gives and of the
    samples that `samples_of` gives, where there are any; below, why it learned or did not, over all of its seeds.
    """
    records = list(records)
    sections = tables.sections(records, among)
    by_id = {record.id: record for record in records}
    pictures = {row.ids[0]: _picture(by_id[row.ids[0]], series_of) for section in sections for row in section.rows}
    samples = {identity: _samples(by_id[identity], samples_of) for identity in pictures}
    reasons = {
        row.ids[0]: why.of_row([by_id[one] for one in row.ids], series_of)
        for section in sections
        for row in section.rows
    }
    template = Environment(
        autoescape=select_autoescape(default=True), trim_blocks=True, lstrip_blocks=True
    ).from_string(files("rnnae_bench.report").joinpath("page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        sections=sections,
        columns=tables.COLUMNS,
        number=tables.number,
        pictures=pictures,
        samples=samples,
        why=reasons,
        failures=[record for record in records if record.status != "ok"],
        devices=sorted({record.environment.device for record in records}),
        count=len(records),
        version=__version__,
    )


def _samples(record: Record, samples_of: Callable[[Record], Samples | None]) -> str | None:
    try:
        samples = samples_of(record)
        drawn = samples_picture.picture(samples, plots.title(record)) if samples else None
    except (OSError, ValueError):
        return None
    return None if drawn is None else base64.b64encode(drawn).decode()


def _picture(record: Record, series_of: Callable[[Record], Mapping[str, Series]]) -> str | None:
    try:
        series = series_of(record)
    except (OSError, ValueError):
        return None
    if not series:
        return None
    return base64.b64encode(plots.picture(record, series)).decode()
