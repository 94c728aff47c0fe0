"""Reads the days of a file's rows: calendar dates in any usual notation, moments with a time zone, and Unix time.

A time of day without a zone is a label and is removed, and so is midnight with a zone. Any other moment is converted to
the exchange's time. `03/04/2024` has two readings: the file decides by days above 12, or because its rows are days
apart by one reading only; otherwise it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.file_format import FileFormat

_TIME = (
    r"(?P<time>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*"
    r"(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
)
_WITH_TIME = re.compile(rf"(?P<day>.*?\d)(?:(?:,?\s+|T){_TIME}|(?P<bare>Z|\s?UTC|\s?[+-]\d{{2}}:\d{{2}}))$")
_ISO = re.compile(r"(\d{4})(?:([-/.])(\d{1,2})\2(\d{1,2})|(\d{2})(\d{2}))")
_SPLIT_CLOCK = re.compile(r"^(\d{8}) (\d{2})(\d{2})(\d{2})$")
_COMPACT = re.compile(r"(\d{8})(\d{2})(\d{2})(\d{2})?")
_PLAIN = re.compile(r"(?:\d{4}-\d\d-\d\d\n)+")
_EPOCH = re.compile(r"-?\d{1,19}(?:\.0*)?")
_EPOCH_LEAST = 9e8  # 1998 in seconds: smaller numbers alone are no Unix time
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
_UNITS = ((1e17, "ns"), (1e14, "us"), (2e10, "ms"), (0.0, "s"))
"""Unix time: from this size of the largest number on, the numbers are in this unit. 2e10 seconds are the year 2603."""
_DAY_SECONDS = 86_400
_FEW_ROWS, _DAILY, _NOT_DAILY = 5, 4.0, 20.0
"""A reading by which rows are days apart is right if they are weeks or years apart by every other reading."""


@dataclass(frozen=True)
class _Written:
    """A date as it is written, in three parts of unknown meaning or of known."""

    numbers: tuple[int, int, int] | None = None  # in the order of the cell: two of day and month, then the year
    known: tuple[int, int, int] | None = None  # year, month, day


def read_dates(
    cells: pd.Series, times: Sequence[str] | None, timezone: Callable[[], str], form: FileFormat, file: str
) -> pd.DatetimeIndex:
    """The day of each row: tz-naive midnights in the order of the file.

    Args:
        cells: texts, or timestamps.
        times: times of day from a column of their own; they only matter if `form` says their zone.
        timezone: gives the exchange's time zone; called only if there are moments to convert.
        form: may say notation and zone.
        file: for messages.

    Raises:
        DataError: a cell is not a date, or the file does not say what comes first, day or month.
    """
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        days = _days_of_stamps(cells, timezone, form, file)
    else:
        texts = [str(cell).strip() for cell in cells]
        if times is not None and form.timezone is not None:
            texts = [f"{day} {_clock(time)}".strip() for day, time in zip(texts, times, strict=True)]
        cells, days = pd.Series(texts, dtype=object), _days_of_texts(texts, timezone, form, file)
    if days.hasnans:
        row = int(np.flatnonzero(days.isna())[0])
        hint = "write dates as 2024-03-31, or say how they are written: source.dates"
        raise DataError(f"{file}: data row {row + 1}: {cells.iloc[row]!r} is not a date", hint)
    return days.as_unit("ns").rename(None)


def _clock(time: str) -> str:
    digits = time.strip()
    return f"{digits[:2]}:{digits[2:4]}:{digits[4:6]}" if re.fullmatch(r"\d{6}", digits) else digits


def _days_of_stamps(cells: pd.Series, timezone: Callable[[], str], form: FileFormat, file: str) -> pd.DatetimeIndex:
    stamps = pd.DatetimeIndex(cells)
    naive = stamps.tz_localize(None)
    timed = naive != naive.normalize()
    if not timed.any():
        return naive
    if stamps.tz is not None:
        return stamps.tz_convert(timezone()).tz_localize(None).normalize()
    return _days_of_naive(naive, timed, timezone, form, file)


def _days_of_naive(
    stamps: pd.DatetimeIndex, timed: np.ndarray, timezone: Callable[[], str], form: FileFormat, file: str
) -> pd.DatetimeIndex:
    """The days of stamps without a zone: as they are labelled, or converted from the zone that the user gives."""
    labels = stamps.normalize()
    if form.timezone is None:
        _refuse_likely_utc(stamps[timed], timezone, file)
        return labels
    moments = stamps.tz_localize(form.timezone, ambiguous="NaT", nonexistent="shift_forward").tz_convert(timezone())
    days = moments.tz_localize(None).normalize()
    return labels.where(~timed | days.isna(), days)


def _refuse_likely_utc(stamps: pd.DatetimeIndex, timezone: Callable[[], str], file: str) -> None:
    """Refuse times without a zone that fall on weekends as they are, and on no weekend if they are UTC."""
    if not (weekend := stamps.day_of_week >= 5).any():
        return
    zone = timezone()
    local = stamps.tz_localize("UTC").tz_convert(zone)
    if not (local.day_of_week >= 5).any():
        day = stamps[weekend][0]
        raise DataError(
            f"{file}: {day} is on a weekend; the times have no time zone, and as UTC they are no weekends in {zone}",
            "if the times are UTC: source.timezone: UTC",
        )


def _days_of_texts(texts: list[str], timezone: Callable[[], str], form: FileFormat, file: str) -> pd.DatetimeIndex:
    if form.dates is not None and "%" in form.dates:
        return _of_format(texts, timezone, form, file)
    if _PLAIN.fullmatch("\n".join([*texts, ""])):
        return pd.DatetimeIndex(pd.to_datetime(pd.Series(texts), format="%Y-%m-%d", errors="coerce"))
    if _are_unix_times(texts):
        return _unix_days(texts, timezone)
    texts = [_SPLIT_CLOCK.sub(r"\1 \2:\3:\4", text) for text in texts]
    parts = [_WITH_TIME.fullmatch(text) for text in texts]
    days = [match["day"] if match else text for match, text in zip(parts, texts, strict=True)]
    dates = _calendar_days(days, form, file)
    moments = [_moment(match) for match in parts]
    if not any(moments):
        return dates
    return _with_moments(dates, moments, timezone, form, file)


def _are_unix_times(texts: Sequence[str]) -> bool:
    if not all(_EPOCH.fullmatch(text) for text in texts) or _all_calendar(texts):
        return False
    return max(abs(float(text)) for text in texts) >= _EPOCH_LEAST


def _all_calendar(texts: Sequence[str]) -> bool:
    """Whether digits alone are all dates such as 20240331, or with hours and minutes behind them."""
    days = [text[:8] if _ISO.fullmatch(text) or _COMPACT.fullmatch(text) else None for text in texts]
    return all(days) and not pd.to_datetime(pd.Series(days), format="%Y%m%d", errors="coerce").isna().any()


def _unix_days(texts: Sequence[str], timezone: Callable[[], str]) -> pd.DatetimeIndex:
    numbers = np.array([int(text.split(".")[0]) for text in texts], dtype="int64")
    largest = float(np.abs(numbers).max())
    unit = next(unit for least, unit in _UNITS if largest >= least)
    stamps = pd.DatetimeIndex(pd.to_datetime(numbers, unit=unit, errors="coerce"))  # type: ignore[call-overload]
    if not ((stamps.normalize() == stamps) | stamps.isna()).all():
        stamps = stamps.tz_localize("UTC").tz_convert(timezone()).tz_localize(None)
    return stamps.normalize()


def _of_format(texts: Sequence[str], timezone: Callable[[], str], form: FileFormat, file: str) -> pd.DatetimeIndex:
    stamps = pd.DatetimeIndex(
        pd.to_datetime(
            pd.Series(texts, dtype=object), format=form.dates, errors="coerce", utc="%z" in (form.dates or "")
        )
    )
    return _days_of_stamps(pd.Series(stamps), timezone, form, file)


def _calendar_days(texts: Sequence[str], form: FileFormat, file: str) -> pd.DatetimeIndex:
    iso = [_iso(text) for text in texts]
    if any(iso):  # one malformed row must not change how the others are read
        return _index(iso)
    written = [_written(text) for text in texts]
    readings = {
        "month-first": _index([_reading(date, month=0, day=1) for date in written]),
        "day-first": _index([_reading(date, month=1, day=0) for date in written]),
        "year-first": _index([_reading(date, month=1, day=2) for date in written]),
    }
    if form.dates is not None:
        return readings[form.dates]
    fitting = [days for days in readings.values() if not days.hasnans]
    if not fitting:
        return min(readings.values(), key=lambda days: np.count_nonzero(days.isna()))
    if all(days.equals(fitting[0]) for days in fitting):
        return fitting[0]
    daily = [days for days in fitting if _step(days) <= _DAILY]
    if len(daily) == 1 and all(days is daily[0] or _step(days) >= _NOT_DAILY for days in fitting):
        return daily[0]
    raise DataError(
        f"{file}: {texts[0]!r}: day first or month first? every row allows both",
        "write dates as 2024-03-31, or say what comes first: source.dates: day-first (or month-first)",
    )


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


def _moment(match: re.Match[str] | None) -> tuple[str, str] | None:
    """Time of day and zone ("" if it has none); None for a date alone and for midnight."""
    if match is None or match["time"] is None:
        return None
    time = match["time"].replace(",", ".")
    if match["half"]:
        hour, rest = time.split(":", 1)
        time = f"{int(hour) % 12 + (12 if match['half'][0] in 'pP' else 0)}:{rest}"
    if re.fullmatch(r"[0:.]+", time):
        return None
    zone = match["zone"] or ""
    return time, "+00:00" if zone in ("Z", "UTC", "GMT") else zone


def _with_moments(
    dates: pd.DatetimeIndex,
    moments: Sequence[tuple[str, str] | None],
    timezone: Callable[[], str],
    form: FileFormat,
    file: str,
) -> pd.DatetimeIndex:
    """The days of rows of which some have a time of day."""
    zoned = np.array([moment is not None and moment[1] != "" for moment in moments])
    timed = np.array([moment is not None for moment in moments])
    clocks = [(moment[0] if moment else "00:00") for moment in moments]
    offset = pd.to_timedelta(
        pd.Series([clock if clock.count(":") == 2 else f"{clock}:00" for clock in clocks]), errors="coerce"
    )
    stamps = dates + pd.TimedeltaIndex(offset)
    days = _days_of_naive(stamps, timed & ~zoned, timezone, form, file) if (timed & ~zoned).any() else dates
    if zoned.any():
        ahead = [(moment[1] if moment and moment[1] else "+00:00") for moment in moments]
        minutes = [_minutes(zone) for zone in ahead]
        utc = (stamps - pd.to_timedelta(minutes, unit="min")).tz_localize("UTC")
        local = utc.tz_convert(timezone()).tz_localize(None).normalize()
        days = days.where(~zoned, local)
    return days


def _minutes(zone: str) -> int:
    """Minutes ahead of UTC of an offset such as -05:00.

    >>> _minutes("-0530"), _minutes("+09")
    (-330, 540)
    """
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (-1 if zone[0] == "-" else 1) * (60 * int(digits[:2]) + int(digits[2:]))
