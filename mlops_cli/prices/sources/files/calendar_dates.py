"""Reads calendar dates. `03/04/2024` has two readings: the whole file decides which is meant, or it is refused.

It decides by days above 12, or because its rows are days apart by one reading only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError

_ISO = re.compile(r"(\d{4})(?:([-/.])(\d{1,2})\2(\d{1,2})|(\d{2})(\d{2}))")
_COMPACT = re.compile(r"(\d{8})(\d{2})(\d{2})(\d{2})?")
_NUMERIC = re.compile(r"(\d{1,2})([-/. ])(\d{1,2})\2(\d{4}|\d{2})")
_WEEKDAY = re.compile(r"^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+", re.IGNORECASE)
_DAY_MONTH = re.compile(r"(\d{1,2})(?:st|nd|rd|th|\.)?[-/ ]*([^\W\d_]{3,9})\.?,?[-/ ]*'?(\d{4}|\d{2})")
_MONTH_DAY = re.compile(r"([^\W\d_]{3,9})\.?[-/ ]*(\d{1,2})(?:st|nd|rd|th)?,?[-/ ]+'?(\d{4}|\d{2})")
_YEAR_MONTH = re.compile(r"(\d{4})[-/ ]*([^\W\d_]{3,9})\.?[-/ ]*(\d{1,2})")
_MONTHS = (
    "jan januar january", "feb februar february", "mar mär märz maerz march", "apr april", "may mai",
    "jun juni june", "jul juli july", "aug august", "sep sept september", "oct okt oktober october",
    "nov november", "dec dez dezember december",
)  # fmt: skip
_MONTH = {word: number for number, words in enumerate(_MONTHS, start=1) for word in words.split()}
_PIVOT = 69  # a year of two digits below it is of this century, as in POSIX
_DAY_SECONDS = 86_400
_WEEK = 7
_FEW_ROWS, _DAILY, _NOT_DAILY = 5, 4.0, 20.0
"""A reading by which rows are days apart is right if they are weeks or years apart by every other reading."""


@dataclass(frozen=True)
class _Written:
    """A date as it is written, in three parts of unknown meaning or of known."""

    numbers: tuple[int, int, int] | None = None  # in the order of the cell: two of day and month, then the year
    known: tuple[int, int, int] | None = None  # year, month, day


def are_calendar_digits(texts: Sequence[str]) -> bool:
    """Whether digits alone are all dates such as 20240331, or with hours and minutes behind them."""
    days = [text[:8] if _ISO.fullmatch(text) or _COMPACT.fullmatch(text) else None for text in texts]
    return all(days) and not pd.to_datetime(pd.Series(days), format="%Y%m%d", errors="coerce").isna().any()


def calendar_days(texts: Sequence[str], order: str | None, file: str) -> pd.DatetimeIndex:
    """The days of texts without a time; NaT where a text is no date.

    Args:
        texts: such as `2024-03-31`, `31.03.2024` or `Mar 31, 2024`.
        order: `day-first` or `month-first` if the user says so; else None.
        file: for messages.

    Raises:
        DataError: the file does not say what comes first, day or month.
    """
    iso = [_iso(text) for text in texts]
    if any(iso):  # one malformed row must not change how the others are read
        return _index(iso)
    written = [_written(text) for text in texts]
    readings = {
        "month-first": _index([_reading(date, month=0, day=1) for date in written]),
        "day-first": _index([_reading(date, month=1, day=0) for date in written]),
        "year-first": _index([_reading(date, month=1, day=2) for date in written]),
    }
    if order is not None:
        return readings[order]
    days = _decided(list(readings.values()), texts, file)
    for other in readings.values():
        _refuse_mixed(days, other, texts, file)
    return days


def _decided(readings: Sequence[pd.DatetimeIndex], texts: Sequence[str], file: str) -> pd.DatetimeIndex:
    """The reading that fits every row; if none does, the one that fits most rows."""
    fitting: list[pd.DatetimeIndex] = []
    for days in readings:
        if not days.hasnans and not any(days.equals(other) for other in fitting):
            fitting.append(days)
    if not fitting:
        return min(readings, key=lambda days: np.count_nonzero(days.isna()))
    if len(fitting) == 1:
        return fitting[0]
    steps = sorted(_step(days) for days in fitting)
    if steps[0] <= _DAILY and steps[1] >= _NOT_DAILY:
        return min(fitting, key=_step)
    raise _first_unclear(f"{texts[0]!r}: day first or month first? every row allows both", file)


def _first_unclear(text: str, file: str) -> DataError:
    return DataError(
        f"{file}: {text}",
        "write dates as 2024-03-31, or say what comes first: source.dates: day-first (or month-first)",
    )


def _refuse_mixed(days: pd.DatetimeIndex, other: pd.DatetimeIndex, texts: Sequence[str], file: str) -> None:
    """Refuse a row that is out of order or weeks away, but follows its neighbour by another reading of its date."""
    numbers, others = (index.as_unit("s").asi8 // _DAY_SECONDS for index in (days, other))

    def follows(row: int, neighbour: int) -> bool:
        known = 0 <= neighbour < len(days) and not other.isna()[row] and others[row] != numbers[row]
        return bool(known and 0 < abs(others[row] - numbers[neighbour]) <= _WEEK)

    steps = np.diff(numbers)
    against = steps < 0 if (steps > 0).sum() >= (steps < 0).sum() else steps > 0
    far = np.abs(steps) >= _NOT_DAILY if _step(days) <= _DAILY else np.zeros(len(steps), bool)
    for before in np.flatnonzero(against | far).tolist():
        pairs = [(before, before + 1), (before + 1, before)]
        if against[before]:
            pairs += [(before, before - 1), (before + 1, before + 2)]
        for row, neighbour in pairs:
            if follows(row, neighbour):
                what = "is out of order" if against[before] else "is weeks away from its neighbour"
                raise _first_unclear(f"{texts[row]!r} {what}; by another reading of it it is not", file)


def _step(days: pd.DatetimeIndex) -> float:
    """The median number of days between neighbouring rows; between daily and monthly if there are few rows."""
    if len(days) < _FEW_ROWS:
        return (_DAILY + _NOT_DAILY) / 2
    return float(np.median(np.abs(np.diff(days.as_unit("s").asi8)))) / _DAY_SECONDS


def _iso(text: str) -> str | None:
    compact = _COMPACT.fullmatch(text)
    if compact:
        return compact[1]
    match = _ISO.fullmatch(text)
    return f"{match[1]}{(match[3] or match[5]):0>2}{(match[4] or match[6]):0>2}" if match else None


def _written(text: str) -> _Written:
    plain = _WEEKDAY.sub("", text)
    if match := _NUMERIC.fullmatch(plain):
        return _Written(
            numbers=(int(match[1]), int(match[3]), int(match[4]) if len(match[4]) == 2 else _year(match[4]))
        )
    for pattern, (year, month, day) in ((_DAY_MONTH, (3, 2, 1)), (_MONTH_DAY, (3, 1, 2)), (_YEAR_MONTH, (1, 2, 3))):
        match = pattern.fullmatch(plain)
        if match and (number := _MONTH.get(match[month].lower())):
            return _Written(known=(_year(match[year]), number, int(match[day])))
    return _Written()


def _year(text: str) -> int:
    number = int(text)
    if len(text) == 4:
        return number
    return number + (2000 if number < _PIVOT else 1900)


def _reading(date: _Written, month: int, day: int) -> str | None:
    """A date as YYYYMMDD if its parts have these places; only years of two digits may stand first."""
    if date.known is not None:
        year, number, of_month = date.known
        return f"{year:04}{number:02}{of_month:02}"
    if date.numbers is None:
        return None
    year_place = 3 - month - day
    year = date.numbers[year_place]
    if year < 100:
        year = _year(f"{year:02}")
    elif year_place == 0 or date.numbers[day] > 31:
        return None
    return f"{year:04}{date.numbers[month]:02}{date.numbers[day]:02}"


def _index(days: Sequence[str | None]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(pd.Series(list(days), dtype=object), format="%Y%m%d", errors="coerce"))
