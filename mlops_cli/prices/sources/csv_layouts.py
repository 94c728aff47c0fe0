"""Reading one price file, whatever layout it came in, into columns named as in the price table.

Understood are the Yahoo layout (`Date,Open,High,Low,Close,Adj Close,Volume`, with or without `Dividends` and `Stock
Splits`), the Nasdaq export (`Close/Last`, $ signs, thousands separators, newest first), the two or three header rows
of a saved `yfinance.download`, the separators `,` `;` and tab, dates with time of day and time zone, and parquet with
any of these columns. Nothing is repaired here: nulls become NaN, rows stay in the order of the file.
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
    """Read a CSV or parquet file of daily bars.

    Args:
        path: the file.
        ticker: whose bars are wanted; a file that says it holds another ticker is refused.
        timezone: gives the exchange's time zone; asked only where time stamps carry an offset and a time of day.

    Returns:
        index of tz-naive dates in the order of the file, repeats possible; float64 columns
        `open high low close adj_close volume` (`adj_close` all NaN where the file has none), and `dividends` and
        `stock_splits` where the file has them. NaN where a value is missing.

    Raises:
        DataError: not a price file, with file and row.
    """
    cells = _parquet(path) if path.suffix.lower() == ".parquet" else _text(path)
    cells = _one_ticker(cells, path, ticker)
    named = _known_columns(cells, path)
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
    dated = rows[0].str.contains(r"\d")
    top = int(dated.to_numpy().argmax()) if dated.any() else len(rows)
    if top == 0:
        raise DataError(f"{path}: row 1: no header line", "begin with Date,Open,High,Low,Close,Adj Close,Volume")
    header, body = rows.iloc[:top], rows.iloc[top:]
    names = max(header.index, key=lambda row: sum(_canonical(cell) in _NAMES for cell in header.loc[row]))
    labels = [str(cell) for cell in header.loc[names]]
    if not any(_canonical(label) in _DATES for label in labels):
        labels[0] = "Date"
    if body.empty:
        raise DataError(f"{path}: no rows under the header {', '.join(labels)}", "download it again")
    body = body[body[0].str.strip().str.lower() != str(header.loc[names, 0]).strip().lower()]
    tickers = [row for row in header.index if row != names and header.loc[row].iloc[1:].str.strip().ne("").all()]
    if tickers:
        seconds = ["", *header.loc[tickers[0]].iloc[1:].str.strip()]
        return body.set_axis(pd.MultiIndex.from_arrays([labels, seconds]), axis=1)
    return body.set_axis(pd.Index(labels), axis=1)


def _one_ticker(cells: pd.DataFrame, path: Path, ticker: str) -> pd.DataFrame:
    """Of labels (name, ticker) keep the ticker's columns; either level may hold the names."""
    if cells.columns.nlevels == 1:
        return cells
    levels = [cells.columns.get_level_values(level).astype(str) for level in (0, 1)]
    names, owners = levels if sum(map(_is_price, levels[0])) >= sum(map(_is_price, levels[1])) else levels[::-1]
    wanted = [_plain(owner) == _plain(ticker) for owner in owners]
    if not any(wanted):
        held = sorted({owner for owner, name in zip(owners, names, strict=True) if _is_price(name)})
        raise DataError(f"{path}: holds prices of {bounded(held)}, not of {ticker}", "rename or replace the file")
    is_date = [_canonical(label) in _DATES for label in (*levels[0],)]
    keep = [own or date for own, date in zip(wanted, is_date, strict=True)]
    return cells.loc[:, keep].set_axis(
        pd.Index([a if d else n for a, n, d in zip(levels[0], names, is_date, strict=True)])[keep], axis=1
    )


def _is_price(label: str) -> bool:
    return _canonical(label) in _NAMES


def _plain(ticker: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", ticker.upper())


def _canonical(label: object) -> str:
    return re.sub(r"[^a-z0-9]+", "_", str(label).strip().lower()).strip("_")


def _known_columns(cells: pd.DataFrame, path: Path) -> dict[str, pd.Series]:
    found: dict[str, pd.Series] = {}
    for position, label in enumerate(cells.columns):
        plain = _canonical(label)
        name = "date" if plain in _DATES else _NAMES.get(plain)
        if name in found:
            raise DataError(f"{path}: two columns hold {name} ({label!r} is the second)", "remove one of them")
        if name:
            found[name] = cells.iloc[:, position]
    missing = [name for name in ("date", *PRICE_COLUMNS) if name not in found and name != "adj_close"]
    if missing:
        have = ", ".join(str(label) for label in cells.columns)[:200]
        raise DataError(
            f"{path}: no column for {', '.join(missing)} (found: {have})", "rename the columns as Yahoo does"
        )
    return found


def _numbers(cells: pd.Series, name: str, days: pd.DatetimeIndex, path: Path) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells.to_numpy(dtype="float64", na_value=np.nan)
    text = cells.astype(str).str.strip()
    null = text.str.lower().isin(_NULLS).to_numpy()
    values = np.array(pd.to_numeric(text.mask(null), errors="coerce"), dtype="float64")
    odd = np.isnan(values) & ~null
    if odd.any():
        bare = text[odd].str.replace(r"^[$€£¥]\s*", "", regex=True)
        wrong = ~bare.str.fullmatch(_THOUSANDS)
        if wrong.any():
            day, cell = days[odd][wrong.to_numpy()][0], bare[wrong].iloc[0]
            raise DataError(f"{path}:{day.date()}: {name} {cell!r} is no number", "write 1234.5 or 1,234.5")
        values[odd] = bare.str.replace(",", "").astype("float64")
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
        iso = bool(parts["year"].notna().any())  # one odd row must not hide the layout of the others
        days = _iso_dates(text, parts, timezone) if iso else _other_dates(text, path)
        cells = text
    if days.hasnans:
        row = int(np.flatnonzero(days.isna())[0])
        raise DataError(f"{path}: data row {row + 1}: {cells.iloc[row]!r} is no date", "write dates as 2024-03-31")
    return days.as_unit("ns").rename(None)


def _iso_dates(text: pd.Series, parts: pd.DataFrame, timezone: Callable[[], str]) -> pd.DatetimeIndex:
    """A midnight with an offset is a label of that day; any other moment with an offset is told in exchange time."""
    written = parts["year"] + parts["month"] + parts["day"]
    days = pd.to_datetime(written, format="%Y%m%d", errors="coerce")
    moment = parts["zone"].notna() & parts["time"].notna() & ~parts["time"].fillna("").str.fullmatch(r"[0:.]+")
    if moment.any():
        moments = pd.to_datetime(text[moment], utc=True, errors="coerce", format="ISO8601")
        days = days.mask(moment, moments.dt.tz_convert(timezone()).dt.tz_localize(None).dt.normalize())
    return pd.DatetimeIndex(days)


def _other_dates(text: pd.Series, path: Path) -> pd.DatetimeIndex:
    """03/31/2024, 31.03.2024 or Mar 31, 2024: whichever fits every row; a tie between the first two is refused."""
    plain = text.str.replace(r"[ T]\d{1,2}:\d{2}.*$", "", regex=True).str.replace(r"(?<=\d)[.-](?=\d)", "/", regex=True)
    forms = ("%m/%d/%Y", "%d/%m/%Y", "%b %d, %Y")
    readings = [pd.DatetimeIndex(pd.to_datetime(plain, format=form, errors="coerce")) for form in forms]
    fitting = [days for days in readings if not days.hasnans]
    if len(fitting) > 1 and not fitting[0].equals(fitting[1]):
        raise DataError(f"{path}: {text.iloc[0]!r}: day first or month first? every row allows both",
                        "write dates as 2024-03-31")  # fmt: skip
    return fitting[0] if fitting else min(readings, key=lambda days: np.count_nonzero(days.isna()))
