"""Reads the days of a file's rows: calendar dates in any usual notation, moments with a time zone, and Unix time.

A time of day without a zone is a label and is removed, and so is midnight with a zone. Any other moment is converted to
the exchange's time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.calendar_dates import are_calendar_digits, calendar_days
from mlops_cli.prices.sources.files.file_format import FileFormat

_TIME = (
    r"(?P<time>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*"
    r"(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?"
)
_WITH_TIME = re.compile(rf"(?P<day>.*?\d)(?:(?:,?\s+|T){_TIME}|(?P<bare>Z|\s?UTC|\s?[+-]\d{{2}}:\d{{2}}))$")
_SPLIT_CLOCK = re.compile(r"^(\d{8}) (\d{2})(\d{2})(\d{2})$")
_PLAIN = re.compile(r"(?:\d{4}-\d\d-\d\d\n)+")
_EPOCH = re.compile(r"-?\d{1,19}(?:\.0*)?")
_EPOCH_LEAST = 9e8  # 1998 in seconds: smaller numbers alone are no Unix time
_EPOCH_MOST = 9e18
_FIRST_YEAR, _LAST_YEAR = 1700, 2200
_UNITS = ((1e17, "ns"), (1e14, "us"), (2e10, "ms"), (0.0, "s"))
"""Unix time: from this size of the largest number on, the numbers are in this unit. 2e10 seconds are the year 2603."""


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
    days = pd.DatetimeIndex(days.where((days.year >= _FIRST_YEAR) & (days.year <= _LAST_YEAR)))
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
    return _days_with_times([_SPLIT_CLOCK.sub(r"\1 \2:\3:\4", text) for text in texts], timezone, form, file)


def _days_with_times(texts: list[str], timezone: Callable[[], str], form: FileFormat, file: str) -> pd.DatetimeIndex:
    parts = [_WITH_TIME.fullmatch(text) for text in texts]
    days = [match["day"] if match else text for match, text in zip(parts, texts, strict=True)]
    dates = calendar_days(days, form.dates, file)
    moments = [_moment(match) for match in parts]
    return _with_moments(dates, moments, timezone, form, file) if any(moments) else dates


def _are_unix_times(texts: Sequence[str]) -> bool:
    if not all(_EPOCH.fullmatch(text) for text in texts) or are_calendar_digits(texts):
        return False
    return _EPOCH_LEAST <= max(abs(float(text)) for text in texts) <= _EPOCH_MOST


def _unix_days(texts: Sequence[str], timezone: Callable[[], str]) -> pd.DatetimeIndex:
    numbers = np.array([int(text.split(".")[0]) for text in texts], dtype="int64")
    largest = float(np.abs(numbers).max())
    unit = next(unit for least, unit in _UNITS if largest >= least)
    stamps = pd.DatetimeIndex(pd.to_datetime(numbers, unit=unit, errors="coerce"))  # type: ignore[call-overload]
    midnight = stamps == stamps.normalize()
    if midnight.all():
        return stamps
    local = stamps.tz_localize("UTC").tz_convert(timezone()).tz_localize(None)
    return stamps.where(midnight, local).normalize()


def _of_format(texts: Sequence[str], timezone: Callable[[], str], form: FileFormat, file: str) -> pd.DatetimeIndex:
    stamps = pd.DatetimeIndex(
        pd.to_datetime(
            pd.Series(texts, dtype=object), format=form.dates, errors="coerce", utc="%z" in (form.dates or "")
        )
    )
    return _days_of_stamps(pd.Series(stamps), timezone, form, file)


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
    zones = ["" if moment is None else moment[1] for moment in moments]
    zoned = np.array([zone != "" for zone in zones])
    naive = np.array([moment is not None for moment in moments]) & ~zoned
    clocks = pd.Series(["00:00:00" if moment is None else _with_seconds(moment[0]) for moment in moments])
    stamps = dates + pd.TimedeltaIndex(pd.to_timedelta(clocks, errors="coerce"))
    days = _days_of_naive(stamps, naive, timezone, form, file) if naive.any() else dates
    return _in_local_time(days, stamps, zones, timezone) if zoned.any() else days


def _in_local_time(
    days: pd.DatetimeIndex, stamps: pd.DatetimeIndex, zones: Sequence[str], timezone: Callable[[], str]
) -> pd.DatetimeIndex:
    """The days, and those of stamps with a zone converted to the exchange's time."""
    ahead = pd.to_timedelta([_minutes(zone or "+00:00") for zone in zones], unit="min")
    local = (stamps - ahead).tz_localize("UTC").tz_convert(timezone()).tz_localize(None)
    return days.where(np.array([zone == "" for zone in zones]), local.normalize())


def _with_seconds(clock: str) -> str:
    return clock if clock.count(":") == 2 else f"{clock}:00"


def _minutes(zone: str) -> int:
    """Minutes ahead of UTC of an offset such as -05:00.

    >>> _minutes("-0530"), _minutes("+09")
    (-330, 540)
    """
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (-1 if zone[0] == "-" else 1) * (60 * int(digits[:2]) + int(digits[2:]))
