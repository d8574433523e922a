"""Writes the ``.tsv`` files from the data of the packages statsmodels and aeon (both BSD-3-Clause).

It was run once, and the files are committed; a test compares where the packages are installed. To run it again::

    pip install statsmodels==0.15.0 && pip install --no-deps aeon==1.6.0
    python -m rnnae_tasks.forecast.build_series
"""

import csv
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from rnnae_tasks.forecast.series import NATURES, file_of

PACKAGES = {"airline": "aeon", "co2": "statsmodels", "sunspots": "statsmodels"}
"""Where each series comes from."""

VERSIONS = {"aeon": "1.6.0", "statsmodels": "0.15.0"}
"""The releases that the committed files were made with."""


def rows(package: str, path: str) -> list[list[str]]:
    """The rows of a table in an installed package, without its header."""
    text = Path(str(distribution(package).locate_file(path))).read_text(encoding="utf-8")
    return [*csv.reader(text.splitlines())][1:]


def airline() -> dict[str, float]:
    """By month, as published."""
    return {month: float(value) for month, value in rows("aeon", "aeon/datasets/data/Airline/Airline.csv")}


def co2() -> dict[str, float]:
    """By month: the mean of its weeks; a month without a measurement lies on the line between its neighbours."""
    weeks: dict[str, list[float]] = {}
    for date, value in rows("statsmodels", "statsmodels/datasets/co2/co2.csv"):
        weeks.setdefault(f"{date[:4]}-{date[4:6]}", []).extend([float(value)] if value else [])
    months = sorted(weeks)
    measured = [place for place, month in enumerate(months) if weeks[month]]
    means = [np.mean(weeks[months[place]]) for place in measured]
    return dict(zip(months, np.interp(range(len(months)), measured, means).tolist(), strict=True))


def sunspots() -> dict[str, float]:
    """By year, as published."""
    return {year: float(value) for year, value in rows("statsmodels", "statsmodels/datasets/sunspots/sunspots.csv")}


def text(name: str) -> str:
    """The text of a series' file."""
    series = {"airline": airline, "co2": co2, "sunspots": sunspots}[name]()
    return "".join(f"{time}\t{round(value, 4)}\n" for time, value in series.items())


if __name__ == "__main__":
    for name in NATURES:
        file_of(name).write_text(text(name), encoding="utf-8")
        print(f"{file_of(name)}: {file_of(name).stat().st_size} bytes")
