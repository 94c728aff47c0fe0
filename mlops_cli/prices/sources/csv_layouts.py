"""Reads a price file of any known layout into columns named as in the price table.

Known are the Yahoo layout (`Date,Open,High,Low,Close,Adj Close,Volume`, with or without `Dividends` and `Stock
Splits`), the Nasdaq export (`Close/Last`, $ signs, thousands separators, newest first), the two or three header rows
of a saved `yfinance.download`, the separators `,` `;` and tab, dates with time of day and time zone, and parquet with
any of these columns. This module repairs nothing: nulls become NaN, rows keep the order of the file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError, bounded
from mlops_cli.prices.cleaning.repair import ACTION_COLUMNS, PRICE_COLUMNS

_NAMES = {
    "open": "open", "high": "high", "low": "low", "close": "close", "close_last": "close",
    "adj_close": "adj_close", "adjclose": "adj_close", "adjusted_close": "adj_close",
    "volume": "volume", "vol": "volume",
    "dividends": "dividends", "dividend": "dividends",
    "stock_splits": "stock_splits", "stock_split": "stock_splits", "splits": "stock_splits",
}  # fmt: skip
_DATES = {"date", "datetime", "timestamp", "time", "day", "session"}
_NULLS = {"", "null", "nan", "none", "na", "n/a", "#n/a", "-", "--"}
_ISO = re.compile(
    r"^(?P<year>\d{4})[-/.]?(?P<month>\d{2})[-/.]?(?P<day>\d{2})"
    r"(?:[T ](?P<time>\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?))? ?(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?$"
)
_THOUSANDS = r"-?\d{1,3}(,\d{3})+(\.\d*)?|-?\d*\.?\d+"


def read_bars(path: Path, ticker: str, timezone: Callable[[], str]) -> pd.DataFrame:
    """Read a CSV or parquet file of daily bars. A file that names only tickers other than `ticker` is refused.

    `timezone`, the exchange's, is called only if time stamps have an offset and a time of day.

    Returns:
        Index: tz-naive dates in the order of the file, repeats possible. Columns, in float64:
        `open high low close adj_close volume` (`adj_close` is all NaN if the file has none), and `dividends` and
        `stock_splits` if the file has them. Missing values are NaN.

    Raises:
        DataError: it is not a price file; the message names file and row.
    """
    cells = _parquet(path) if path.suffix.lower() == ".parquet" else _text(path)
    cells = _columns_of(ticker, cells, path)
    named = _named_columns(cells, path)
    days = _dates(named.pop("date"), path, timezone)
    columns = {name: _numbers(values, name, days, path) for name, values in named.items()}
    if "adj_close" not in columns:
        columns["adj_close"] = np.full(len(days), np.nan)
    order = [*PRICE_COLUMNS, *(name for name in ACTION_COLUMNS if name in columns)]
    return pd.DataFrame({name: columns[name] for name in order}, index=days)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable parquet file: {str(error)[:200]}", "write the file again") from error
    if table.index.name is not None or isinstance(table.index, pd.DatetimeIndex):
        label = table.index.name or "date"
        table = table.reset_index(names=[(label, "")] if table.columns.nlevels > 1 else label)
    if table.empty:
        raise DataError(f"{path}: the file is empty", "download it again")
    return table


def _text(path: Path) -> pd.DataFrame:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable text file: {error}", "save it as UTF-8 CSV") from error
    start = text[:2000].lstrip().lower()
    if not start:
        raise DataError(f"{path}: the file is empty", "download it again")
    if start.startswith("<") or "<html" in start:
        raise DataError(
            f"{path}: row 1: this is a web page, not prices (it begins {start[:40]!r})",
            "the site answered with a page (login, consent, error) instead of data: download it again",
        )
    separator = max(",;\t", key=start.splitlines()[0].count)
    try:
        rows = pd.read_csv(io.StringIO(text), sep=separator, header=None, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' ParserError is one
        raise DataError(f"{path}: not a table: {str(error).strip()[:200]}", "every row needs as many cells") from error
    return _under_header(rows.fillna(""), path)


def _under_header(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Turn the rows above the first date into column labels: (name,), or (name, ticker) in yfinance's layout."""
    header_rows = _header_length(rows)
    if header_rows == 0:
        raise DataError(f"{path}: row 1: no header line", "begin with Date,Open,High,Low,Close,Adj Close,Volume")
    header, body = rows.iloc[:header_rows], rows.iloc[header_rows:]
    name_row = max(header.index, key=lambda row: sum(map(_is_price, header.loc[row])))
    labels = [str(cell) for cell in header.loc[name_row]]
    first_label = labels[0].strip().lower()
    if not any(_canonical(label) in _DATES for label in labels):
        labels[0] = "Date"
    if body.empty:
        raise DataError(f"{path}: no rows under the header {', '.join(labels)}", "download it again")
    body = body[body[0].str.strip().str.lower() != first_label]  # the header may be repeated
    tickers = _ticker_row(header.drop(index=name_row))
    if tickers is None:
        return body.set_axis(pd.Index(labels), axis=1)
    return body.set_axis(pd.MultiIndex.from_arrays([labels, tickers]), axis=1)


def _header_length(rows: pd.DataFrame) -> int:
    """How many rows stand above the first row with a date."""
    dated = rows[0].str.contains(r"\d")
    return int(dated.to_numpy().argmax()) if dated.any() else len(rows)


def _ticker_row(header: pd.DataFrame) -> list[str] | None:
    """The first header row without an empty cell, apart from its first cell; None if there is none."""
    for _, cells in header.iterrows():
        tickers = cells.iloc[1:].str.strip()
        if tickers.ne("").all():
            return ["", *tickers]
    return None


def _columns_of(ticker: str, cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Of columns labelled (name, ticker), the dates and those of `ticker`; either level may contain the names."""
    if cells.columns.nlevels == 1:
        return cells
    first, second = (cells.columns.get_level_values(level).astype(str) for level in (0, 1))
    names_first = sum(map(_is_price, first)) >= sum(map(_is_price, second))
    names, tickers = (first, second) if names_first else (second, first)
    if _plain(ticker) not in map(_plain, tickers):
        others = sorted(set(tickers[[_is_price(name) for name in names]]))
        raise DataError(f"{path}: contains prices of {bounded(others)}, not of {ticker}", "rename or replace the file")
    labels: dict[int, str] = {}
    for position, (label, name, other) in enumerate(zip(first, names, tickers, strict=True)):
        if _canonical(label) in _DATES:
            labels[position] = label
        elif _plain(other) == _plain(ticker):
            labels[position] = name
    return cells.iloc[:, list(labels)].set_axis(pd.Index(list(labels.values())), axis=1)


def _is_price(label: object) -> bool:
    return _canonical(label) in _NAMES


def _plain(ticker: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", ticker.upper())


def _canonical(label: object) -> str:
    return re.sub(r"[^a-z0-9]+", "_", str(label).strip().lower()).strip("_")


def _named_columns(cells: pd.DataFrame, path: Path) -> dict[str, pd.Series]:
    columns: dict[str, pd.Series] = {}
    for position, label in enumerate(cells.columns):
        plain = _canonical(label)
        name = "date" if plain in _DATES else _NAMES.get(plain)
        if name in columns:
            raise DataError(f"{path}: two columns contain {name} ({label!r} is the second)", "remove one of them")
        if name:
            columns[name] = cells.iloc[:, position]
    missing = [name for name in ("date", *PRICE_COLUMNS) if name not in columns and name != "adj_close"]
    if missing:
        labels = ", ".join(str(label) for label in cells.columns)[:200]
        raise DataError(
            f"{path}: no column for {', '.join(missing)} (columns: {labels})", "name the columns as Yahoo does"
        )
    return columns


def _numbers(cells: pd.Series, name: str, days: pd.DatetimeIndex, path: Path) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells.to_numpy(dtype="float64", na_value=np.nan)
    text = cells.astype(str).str.strip()
    null = text.str.lower().isin(_NULLS).to_numpy()
    values = np.array(pd.to_numeric(text.mask(null), errors="coerce"), dtype="float64")
    unread = np.isnan(values) & ~null
    if unread.any():
        bare = text[unread].str.replace(r"^[$€£¥]\s*", "", regex=True)
        wrong = ~bare.str.fullmatch(_THOUSANDS)
        if wrong.any():
            day, cell = days[unread][wrong.to_numpy()][0], bare[wrong].iloc[0]
            raise DataError(f"{path}:{day.date()}: {name} {cell!r} is not a number", "write 1234.5 or 1,234.5")
        values[unread] = bare.str.replace(",", "").astype("float64")
    return values


def _dates(cells: pd.Series, path: Path, timezone: Callable[[], str]) -> pd.DatetimeIndex:
    if isinstance(cells.dtype, pd.DatetimeTZDtype):
        local = cells.dt.tz_localize(None)
        timed = bool((local != local.dt.normalize()).any())
        cells = cells.dt.tz_convert(timezone()).dt.tz_localize(None) if timed else local
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        days = pd.DatetimeIndex(cells).normalize()
    else:
        text = cells.astype(str).str.strip()
        parts = text.str.extract(_ISO)
        iso = bool(parts["year"].notna().any())  # one malformed row must not change how the others are read
        days = _iso_dates(text, parts, timezone) if iso else _other_dates(text, path)
        cells = text
    if days.hasnans:
        row = int(np.flatnonzero(days.isna())[0])
        raise DataError(f"{path}: data row {row + 1}: {cells.iloc[row]!r} is not a date", "write dates as 2024-03-31")
    return days.as_unit("ns").rename(None)


def _iso_dates(text: pd.Series, parts: pd.DataFrame, timezone: Callable[[], str]) -> pd.DatetimeIndex:
    """Midnight with an offset stands for that day; any other time with an offset is converted to exchange time."""
    written = parts["year"] + parts["month"] + parts["day"]
    days = pd.to_datetime(written, format="%Y%m%d", errors="coerce")
    moment = parts["zone"].notna() & parts["time"].notna() & ~parts["time"].fillna("").str.fullmatch(r"[0:.]+")
    if moment.any():
        moments = pd.to_datetime(text[moment], utc=True, errors="coerce", format="ISO8601")
        days = days.mask(moment, moments.dt.tz_convert(timezone()).dt.tz_localize(None).dt.normalize())
    return pd.DatetimeIndex(days)


def _other_dates(text: pd.Series, path: Path) -> pd.DatetimeIndex:
    """Read 03/31/2024, 31.03.2024 or Mar 31, 2024, whichever fits every row; refuse if both of the first two do."""
    plain = text.str.replace(r"[ T]\d{1,2}:\d{2}.*$", "", regex=True).str.replace(r"(?<=\d)[.-](?=\d)", "/", regex=True)
    forms = ("%m/%d/%Y", "%d/%m/%Y", "%b %d, %Y")
    readings = [pd.DatetimeIndex(pd.to_datetime(plain, format=form, errors="coerce")) for form in forms]
    fitting = [days for days in readings if not days.hasnans]
    if len(fitting) > 1 and not fitting[0].equals(fitting[1]):
        raise DataError(f"{path}: {text.iloc[0]!r}: day first or month first? every row allows both",
                        "write dates as 2024-03-31")  # fmt: skip
    return fitting[0] if fitting else min(readings, key=lambda days: np.count_nonzero(days.isna()))
