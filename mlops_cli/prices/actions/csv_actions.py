"""Dividends from CSV files: `<TICKER>.csv` for each ticker, or one file of all tickers.

Columns: `ex_date`, `amount`; optionally `kind`, `currency`, `announced`; and `ticker`, which a file of all tickers
needs. Texts, dates and numbers are read by the rules of price files.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from mlops_cli.errors import ConfigError, DataError, bounded
from mlops_cli.prices.actions.action_source import ActionRequest, ListedDividend, Listing, Listings
from mlops_cli.prices.actions.dividends import Kind
from mlops_cli.prices.sources.files.calendar_dates import calendar_days
from mlops_cli.prices.sources.files.columns import canonical
from mlops_cli.prices.sources.files.content import MOST_ROWS, Content
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.files.notation import NULLS, read_numbers
from mlops_cli.prices.sources.files.table import Table, same_ticker
from mlops_cli.prices.sources.files.text_lines import encodings, not_text, numbered_lines, split_line
from mlops_cli.prices.sources.source import SourceFailure

SOURCE = "csv"
_TITLES = {
    "ex_date": "ex_date ex_dividend_date exdate ex_div_date date",
    "amount": "amount dividend dividends cash_amount rate",
    "kind": "kind type",
    "currency": "currency ccy",
    "announced": "announced announced_at announcement_date declaration_date declared",
    "ticker": "ticker symbol",
    "": "record_date payable_date payment_date pay_date frequency",  # not needed
}
_KIND_OF = {title: kind for kind, titles in _TITLES.items() for title in titles.split()}
_SEPARATORS = ",;\t|"
_REGULAR = ("", "cash", "regular", "dividend", "cash dividend")


@dataclass(frozen=True)
class _Row:
    """The cells of one line by column, without space around them."""

    line: int
    cells: dict[str, str]

    def cell(self, column: str) -> str:
        """The text of a column; empty where it is missing or says so."""
        text = self.cells.get(column, "")
        return "" if text.lower() in NULLS else text


class CsvActions:
    """Reads a folder with one file of dividends per ticker, or one file of all tickers.

    A ticker without a file, or without rows in the file of all tickers, counts as not listed. A file with a header and
    no rows says that there are no dividends.

    Args:
        folder: of the files.
        form: what the user says about how numbers and dates are written.
        file: name of the file of all tickers; None if each ticker has its own.
    """

    name = SOURCE

    def __init__(self, folder: Path, form: FileFormat | None = None, file: str | None = None) -> None:
        self._folder = folder
        self._form = form or FileFormat()
        self._file = file

    def fetch(self, request: ActionRequest, progress: Callable[[str], None]) -> Listings:
        """Read the files; a `ConfigError` if the folder or the file of all tickers is missing."""
        progress(f"dividends from {self._folder}")
        if self._file:
            return self._from_one(self._folder / self._file, request)
        if not self._folder.is_dir():
            raise ConfigError(
                f"source.actions.folder: {self._folder} is not a folder",
                "put <TICKER>.csv files with the columns ex_date, amount there, or set source.actions.kind: auto",
            )
        files = {path.stem.upper(): path for path in sorted(self._folder.iterdir()) if path.suffix.lower() == ".csv"}
        answers: dict[str, Listing | SourceFailure] = {}
        for ticker in request.exchanges:
            path = files.get(ticker.upper())
            answers[ticker] = (
                Listing(ticker, SOURCE, complete=False) if path is None else self._from_own(ticker, path, request)
            )
        strangers = sorted(set(files) - {ticker.upper() for ticker in request.exchanges})
        return Listings(answers, _about_strangers([files[stem].name for stem in strangers], self._folder))

    def _from_own(self, ticker: str, path: Path, request: ActionRequest) -> Listing | SourceFailure:
        try:
            rows = _read_rows(Content.of_file(path))
            for row in rows:
                if row.cell("ticker") and not same_ticker(row.cell("ticker"), ticker):
                    raise _fault(path, row, f"the dividend is of {row.cell('ticker')}", f"keep rows of {ticker} only")
            return Listing(ticker, SOURCE, _dividends(rows, path, request.today(ticker), self._form))
        except DataError as error:
            return _refused(ticker, error)

    def _from_one(self, path: Path, request: ActionRequest) -> Listings:
        if not path.is_file():
            raise ConfigError(f"source.actions.file: there is no {path}", "put the file there, or correct the name")
        try:
            rows = _read_rows(Content.of_file(path))
            _refuse_no_ticker(rows, path)
        except DataError as error:
            return Listings({ticker: _refused(ticker, error) for ticker in request.exchanges})
        by_ticker: dict[str, list[_Row]] = {ticker: [] for ticker in request.exchanges}
        strangers = []
        for symbol, own in _by_symbol(rows).items():
            ticker = next((name for name in request.exchanges if same_ticker(symbol, name)), None)
            if ticker is None:
                strangers.append(f"{symbol} (line {own[0].line}, ex-date {own[0].cell('ex_date')})")
            else:
                by_ticker[ticker] += own
        answers = {ticker: self._listing(ticker, own, path, request) for ticker, own in by_ticker.items()}
        return Listings(answers, _about_strangers(strangers, path))

    def _listing(
        self, ticker: str, rows: Sequence[_Row], path: Path, request: ActionRequest
    ) -> Listing | SourceFailure:
        try:
            dividends = _dividends(rows, path, request.today(ticker), self._form)
        except DataError as error:
            return _refused(ticker, error)
        return Listing(ticker, SOURCE, dividends, complete=bool(rows))


def _refused(ticker: str, error: DataError) -> SourceFailure:
    return SourceFailure(ticker, f"{ticker}: dividends: {error}", error.exit_code)


def _refuse_no_ticker(rows: Iterable[_Row], path: Path) -> None:
    for row in rows:
        if not row.cell("ticker"):
            raise _fault(path, row, "no ticker", "a file of all tickers needs a column ticker")


def _by_symbol(rows: Iterable[_Row]) -> dict[str, list[_Row]]:
    symbols: dict[str, list[_Row]] = {}
    for row in rows:
        symbols.setdefault(row.cell("ticker"), []).append(row)
    return symbols


def _about_strangers(strangers: list[str], where: Path) -> tuple[str, ...]:
    if not strangers:
        return ()
    return (f"{where}: dividends of tickers that no model of this branch has: {bounded(strangers)}; left out",)


def _fault(path: Path, row: _Row, what: str, hint: str) -> DataError:
    return DataError(f"{path}:{row.line}: {what}", hint)


def _read_rows(content: Content) -> list[_Row]:
    """The rows of a file; a `DataError` that names the line if it is no table of dividends."""
    reason = ""
    for encoding in encodings(content):
        try:
            return _rows_in(content, encoding)
        except UnicodeError as error:
            reason = reason or str(error)
    raise not_text(content, reason)


def _rows_in(content: Content, encoding: str) -> list[_Row]:
    lines = ((number, line) for number, line in numbered_lines(content, encoding) if line.strip(" \t,;|"))
    first = next(lines, None)
    if first is None:
        raise DataError(f"{content.name}: the file is empty", "begin with a line: ex_date,amount")
    separator = max(_SEPARATORS, key=first[1].count)
    columns = _columns(split_line(first[1], separator, content.name, first[0]), f"{content.name}:{first[0]}")
    rows: list[_Row] = []
    for number, line in lines:
        cells = [cell.strip() for cell in split_line(line, separator, content.name, number)]
        if len(cells) != len(columns):
            raise DataError(
                f"{content.name}:{number}: {len(cells)} cells, and the header has {len(columns)}",
                "every line needs as many cells; a number with the separator inside needs quotation marks",
            )
        if len(rows) == MOST_ROWS:
            raise DataError(f"{content.name}: more than {MOST_ROWS:,} rows", "give dividends only")
        rows.append(_Row(number, dict(zip(columns, cells, strict=True))))
    return rows


def _columns(titles: Sequence[str], where: str) -> list[str]:
    """What each column holds; a `DataError` if a title is not known, or ex_date or amount is missing."""
    columns: list[str] = []
    for title in titles:
        kind = _KIND_OF.get(canonical(title))
        if kind is None:
            similar = difflib.get_close_matches(canonical(title), _KIND_OF, n=1)
            meant = f"; did you mean {similar[0]}?" if similar else ""
            raise DataError(f"{where}: column {title.strip()[:40]!r} is not known{meant}", _COLUMNS_HINT)
        if kind and kind in columns:
            raise DataError(f"{where}: two columns hold {kind}", "remove one of them")
        columns.append(kind)
    missing = [kind for kind in ("ex_date", "amount") if kind not in columns]
    if missing:
        raise DataError(f"{where}: no column {' and '.join(missing)}", _COLUMNS_HINT)
    return columns


_COLUMNS_HINT = "columns are ex_date, amount and, if known, kind, currency, announced, ticker"


def _dividends(rows: Sequence[_Row], path: Path, today: date, form: FileFormat) -> tuple[ListedDividend, ...]:
    """The dividends of one ticker, in the order of the file.

    Raises:
        DataError: a cell cannot be read, an amount is negative, a dividend was announced after `today`, or two rows
            have the same ex-date and kind; the message names file and line.
    """
    if not rows:
        return ()
    days = _days([row.cell("ex_date") for row in rows], rows, path, form)
    announced = _announcements(rows, path, form)
    amounts = _amounts(rows, days, path, form)
    dividends = []
    lines: dict[tuple[date, str], int] = {}
    for row, day, amount in zip(rows, days, amounts, strict=True):
        kind = _kind(row, path)
        listed = ListedDividend(
            day, amount, f"{path.name}:{row.line}", kind, row.cell("currency") or None, announced.get(row.line)
        )
        if listed.announced is not None and listed.announced > today:
            what = f"announced on {listed.announced}, which is after today, {today}"
            raise _fault(path, row, what, "a forecast may not use what is not announced yet: correct the date")
        if (before := lines.setdefault((day, kind), row.line)) != row.line:
            raise _fault(path, row, f"ex-date {day} stands in line {before} already", "remove one of the two lines")
        dividends.append(listed)
    return tuple(dividends)


def _kind(row: _Row, path: Path) -> Kind:
    word = row.cell("kind").lower()
    if word in _REGULAR:
        return "cash"
    if word in ("special", "extra"):
        return "special"
    raise _fault(path, row, f"kind {word[:40]!r}", "write cash or special; other actions are no dividends")


def _days(texts: Sequence[str], rows: Sequence[_Row], path: Path, form: FileFormat) -> list[date]:
    """The days of cells, all in one notation; rows[i] has texts[i]."""
    by_format = [_by_format(text, form.dates) for text in texts if form.dates and "%" in form.dates]
    if by_format and None not in by_format:
        days = pd.DatetimeIndex(by_format)
    else:
        days = calendar_days(texts, form.dates if form.dates in ("day-first", "month-first") else None, str(path))
    for row, text, day in zip(rows, texts, days, strict=True):
        if pd.isna(day):
            raise _fault(path, row, f"{text[:40]!r} is not a date", "write dates as 2024-03-31")
    return [day.date() for day in days]


def _by_format(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None


def _announcements(rows: Sequence[_Row], path: Path, form: FileFormat) -> dict[int, date]:
    """The days of announcement by line, of the lines that have one."""
    dated = [row for row in rows if row.cell("announced")]
    days = _days([row.cell("announced") for row in dated], dated, path, form) if dated else []
    return {row.line: day for row, day in zip(dated, days, strict=True)}


def _amounts(rows: Sequence[_Row], days: Sequence[date], path: Path, form: FileFormat) -> list[float]:
    texts = [row.cell("amount") for row in rows]
    dates = pd.Series([row.cell("ex_date") for row in rows], dtype=object)
    table = Table(dates=dates, times=None, numbers={"amount": texts}, other_numbers=(), events=(), separator="")
    try:
        read = read_numbers(table, pd.DatetimeIndex(list(days)), form.decimal, str(path))
    except DataError as error:
        row = next((row for row in rows if repr(row.cell("amount")) in error.message), rows[0])
        raise DataError(error.message.replace(f"{path}:", f"{path}:{row.line}: ex-date ", 1), error.hint) from None
    amounts: list[float] = read["amount"].tolist()
    for row, day, amount in zip(rows, days, amounts, strict=True):
        if not 0 < amount < float("inf"):
            what = f"ex-date {day}: amount {row.cell('amount') or 'missing'}"
            raise _fault(path, row, what, "write the dividend per share, above 0, or remove the line")
    return amounts
