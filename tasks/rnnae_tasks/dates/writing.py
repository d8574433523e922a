"""How people write a date, and how it is read: twelve ways, none of which can mean two dates."""

import re
from collections.abc import Callable
from datetime import date

FIRST, LAST = date(1950, 1, 1).toordinal(), date(2049, 12, 31).toordinal()
"""Days that are written, as ordinals: a hundred years, so that two digits of a year tell which."""

MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
SHORT_MONTHS = [name[:3] for name in MONTHS]
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def _ordinal(number: int) -> str:
    ending = "th" if number // 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _month(day: date) -> str:
    return MONTHS[day.month - 1]


def _weekday(day: date) -> str:
    return WEEKDAYS[day.weekday()]


WAYS: dict[str, Callable[[date], str]] = {
    "day_month_year": lambda day: f"{day.day} {_month(day)} {day.year}",
    "month_day_year": lambda day: f"{_month(day)} {day.day}, {day.year}",
    "ordinal": lambda day: f"the {_ordinal(day.day)} of {_month(day)} {day.year}",
    "abbreviated": lambda day: f"{_month(day)[:3]} {day.day} {day.year}",
    "padded": lambda day: f"{day.day:02} {_month(day)[:3]} {day.year}",
    "weekday_american": lambda day: f"{_weekday(day)}, {_month(day)} {day.day}, {day.year}",
    "weekday_british": lambda day: f"{_weekday(day)} {day.day} {_month(day)} {day.year}",
    "weekday_abbreviated": lambda day: f"{_weekday(day)[:3]} {day.day} {_month(day)[:3]} {day.year}",
    "year_first": lambda day: f"{day.year} {_month(day)} {day.day}",
    "short_year": lambda day: f"{day.day} {_month(day)[:3]} {day.year % 100:02}",
    "dots": lambda day: f"{day.day}.{day.month}.{day.year}",
    "slashes": lambda day: f"{day.year}/{day.month}/{day.day}",
}
"""The ways by name. Of numbers alone there are two: with dots the day comes first, with slashes the year."""

LONGEST = len("wednesday, september 30, 2049")
"""Characters of the longest date."""


def read(text: str) -> date:
    """The date that was written, in any of the `WAYS`.

    >>> read("the 3rd of march 1994").isoformat(), read("4 jul 49").isoformat(), read("12.11.2001").isoformat()
    ('1994-03-03', '2049-07-04', '2001-11-12')
    """
    numbers = [int(digits) for digits in re.findall(r"\d+", text)]
    if len(numbers) == 3:
        day, month, year = numbers if "." in text else numbers[::-1]
        return date(year, month, day)
    name = next(word for word in re.findall("[a-z]+", text) if word in MONTHS or word in SHORT_MONTHS)
    month = (MONTHS if name in MONTHS else SHORT_MONTHS).index(name) + 1
    day, year = numbers if numbers[0] < 100 else numbers[::-1]
    if year < 100:
        year += 1900 if year >= 50 else 2000
    return date(year, month, day)
