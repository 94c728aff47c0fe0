"""Reads the rows of one ticker from a text file, one line at a time, without converting them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from operator import itemgetter

import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.columns import Columns, find_columns, is_date_title, is_number_title
from mlops_cli.prices.sources.files.content import LONGEST_CELL, MOST_ROWS, Content
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.files.header import HEAD_LINES, Header, begins_like_a_date, find_header
from mlops_cli.prices.sources.files.table import (
    Event,
    Table,
    TickerRows,
    looks_like_ticker,
    names_a_company,
    other_ticker,
    plain,
    same_ticker,
    too_many_rows,
)
from mlops_cli.prices.sources.files.text_lines import encodings, not_text, numbered_lines, split_line

_NUMBER = re.compile(r"\W*\d[\d.,' \u00a0]*\W*[A-Za-z]{0,3}")
MOST_NOTES = 100  # lines of text below the rows
_EVENT = re.compile(
    r"(?:(?:dividend|div\.?)\s*(?P<dividend>\d*\.?\d+)|(?P<dividend2>\d*\.?\d+)\s*dividend|"
    r"(?:stock )?splits?\s*(?P<split>\d+\s*[:/]\s*\d+)|(?P<split2>\d+\s*[:/]\s*\d+)\s*(?:stock )?splits?)",
    re.IGNORECASE,
)

_QUOTED = frozenset({"open", "high", "low", "close"})  # an adjusted close may be far shorter


def read_text(content: Content, ticker: str, form: FileFormat) -> Table:
    """Read the rows of a ticker from CSV or similar text; a `DataError` if it is no table of prices."""
    reason = ""
    for encoding in encodings(content):
        try:
            return _read(content, encoding, ticker, form)
        except UnicodeError as error:
            reason = reason or str(error)
    raise not_text(content, reason)


def text_titles(content: Content, form: FileFormat) -> tuple[str, ...]:
    """The titles of the columns of CSV or similar text, without reading its rows."""
    reason = ""
    for encoding in encodings(content):
        try:
            return find_header(list(islice(numbered_lines(content, encoding), HEAD_LINES)), form, content.name).titles
        except UnicodeError as error:
            reason = reason or str(error)
    raise not_text(content, reason)


def _read(content: Content, encoding: str, ticker: str, form: FileFormat) -> Table:
    lines = numbered_lines(content, encoding)
    head = list(islice(lines, HEAD_LINES))
    header = find_header(head, form, content.name)
    _check_instrument(header, ticker, content.name)
    columns = _columns(header, ticker, form, content.name)
    if columns.symbol_may_be_name and names_a_company(_symbols(content, encoding, header, columns)):
        columns = replace(columns, symbol=None)
    begun = [line for line in head if line[0] >= header.first_row]
    rows = _Rows(content.name, header, columns, ticker)
    rows.read(chain(begun, lines), torn=not content.ends_a_line())
    return rows.table()


def _symbols(content: Content, encoding: str, header: Header, columns: Columns) -> Iterator[str]:
    """The cells of the column that names the instrument."""
    for number, line in numbered_lines(content, encoding):
        cells = split_line(line, header.separator, content.name, number) if number >= header.first_row else []
        if columns.symbol is not None and columns.symbol < len(cells):
            yield cells[columns.symbol]


def _check_instrument(header: Header, ticker: str, file: str) -> None:
    named = header.instrument
    if named and not same_ticker(named, ticker):
        first, *more = named.rsplit(":", 1)[-1].split()
        if looks_like_ticker(first) and (not more or more[-1].lower() == "equity"):  # else the name of a company
            raise other_ticker(file, [named], ticker)


def _columns(header: Header, ticker: str, form: FileFormat, file: str) -> Columns:
    """The columns of the ticker; of several tickers side by side, the titles of the others are left out."""
    if header.tickers is None:
        return find_columns(header.titles, form, file)
    return find_columns(titles_of(ticker, header.titles, header.tickers, form, file), form, file)


def titles_of(
    ticker: str, titles: Sequence[str], tickers: Sequence[str], form: FileFormat, file: str
) -> tuple[str, ...]:
    """The titles of the columns of dates and of `ticker`, with "" for the columns of other tickers."""
    named = {other for title, other in zip(titles, tickers, strict=True) if is_number_title(title, form.columns)}
    if named and plain(ticker) not in map(plain, named):
        raise other_ticker(file, sorted(named), ticker)
    return tuple(
        title if is_date_title(title, form.columns) or plain(other) == plain(ticker) else ""
        for title, other in zip(titles, tickers, strict=True)
    )


@dataclass
class _Rows:
    """Collects the cells of one ticker's rows."""

    file: str
    header: Header
    columns: Columns
    ticker: str
    picked: list[tuple[str, ...]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pick = itemgetter(*self.columns.positions())
        self._tickers = TickerRows(self.file, self.ticker)

    def read(self, lines: Iterator[tuple[int, str]], torn: bool) -> None:
        """Read all lines.

        Args:
            lines: numbered, from the first row on.
            torn: whether the last line has no end; if it is short too, the file was cut off.

        Raises:
            DataError: a line is neither a row nor a note at the end of the file.
        """
        width = len(self.header.titles)
        cells: list[str] = []
        for row in self._rows(lines):
            if cells:
                self._take(cells + [""] * (width - len(cells)))
            cells = row
        if cells:
            self._take_last(cells, torn and (len(cells) < width or self._is_cut(cells)))
        self._tickers.check()

    def _rows(self, lines: Iterator[tuple[int, str]]) -> Iterator[list[str]]:
        separator, width = self.header.separator, len(self.header.titles)
        blank = separator + " \t"
        for number, line in lines:
            if not line.strip(blank):
                continue
            cells = split_line(line, separator, self.file, number)
            if not self._is_row(cells, number, line):
                continue
            if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                raise DataError(
                    f"{self.file}: not a table: line {number} has {len(cells)} cells, and the header {width}",
                    "every row needs as many cells; a number with the separator inside needs quotation marks",
                )
            yield cells

    def _is_cut(self, cells: list[str]) -> bool:
        """Whether the last cell is a price with fewer decimals, or far fewer digits, than the other prices of its row.

        Some files leave zeros at the end out, so that such a price may be whole. Then a row is lost, with a word.
        """
        prices = {
            place: cells[place]
            for name, place in self.columns.numbers.items()
            if name in _QUOTED and place < len(cells)
        }
        last = prices.pop(len(cells) - 1, None)
        if last is None or not prices:
            return False
        decimals, digits = min(map(_decimals, prices.values())), min(map(_digits, prices.values()))
        return _decimals(last) < decimals or _digits(last) < (digits - 1 if decimals else digits)

    def _take_last(self, cells: list[str], torn: bool) -> None:
        """Take the last row. Of a torn row the last cell may have lost its end, so its numbers are not read.

        It is left out if its date or ticker may be torn or missing.
        """
        columns, width = self.columns, len(self.header.titles)
        if torn:
            if columns.symbol is not None or len(cells) <= columns.date + 1:
                return
            for place in columns.numbers.values():
                cells[place : place + 1] = [""] if place < len(cells) else []
        self._take(cells + [""] * (width - len(cells)))

    def _is_row(self, cells: list[str], number: int, line: str) -> bool:
        """Whether cells are a row: not the header again, and not a note such as `Source: ...`."""
        day = cells[self.columns.date] if self.columns.date < len(cells) else ""
        if not begins_like_a_date(day):
            if not any(cell.strip() for cell in cells):
                return False
            if day.strip().lower() == self.header.titles[self.columns.date].strip().lower():
                return False
            if self._is_note(cells):
                self.notes.append(f"line {number}: {line[:60]!r}")
                if len(self.notes) > MOST_NOTES:
                    raise self._no_row()
                return False
        if self.notes:
            raise self._no_row()
        return True

    def _is_note(self, cells: list[str]) -> bool:
        """Whether cells without a date are text. A row of numbers is none, even if it is shifted or summed up."""
        numbers = {place for place, cell in enumerate(cells) if len(cell) <= LONGEST_CELL and _NUMBER.fullmatch(cell)}
        if len(numbers) > 1:
            return False
        return len(cells) > len(self.header.titles) or not numbers & set(self.columns.numbers.values())

    def _no_row(self) -> DataError:
        return DataError(f"{self.file}: {self.notes[0]} is not a row of prices", "remove the line")

    def _take(self, cells: list[str]) -> None:
        picked = self._pick(cells)
        longest = max(picked, key=len)
        if len(longest) > LONGEST_CELL:
            raise DataError(
                f"{self.file}: a cell of {len(longest):,} characters is neither a date nor a number: {longest[:40]!r}",
                "correct the cell",
            )
        if self.columns.symbol is not None and not self._tickers.keeps(cells[self.columns.symbol].strip()):
            return
        if len(self.picked) == MOST_ROWS:
            raise too_many_rows(self.file)
        event = self._event(cells)
        if event is not None:
            self.events.append(event)
        self.picked.append(picked)

    def _event(self, cells: list[str]) -> Event | None:
        """The dividend or split in a row that has nothing else; such a row must not be read as a bar."""
        if _NUMBER.fullmatch(cells[self.columns.numbers["close"]]):
            return None
        filled = [cell.strip() for cell in cells if cell.strip()]
        match = _EVENT.fullmatch(filled[1][:LONGEST_CELL]) if len(filled) == 2 else None
        if match is None:
            return None
        dividend, split = match["dividend"] or match["dividend2"], match["split"] or match["split2"]
        return Event(len(self.picked), "dividends" if dividend else "stock_splits", dividend or split)

    def table(self) -> Table:
        """The collected rows; a `DataError` if there are none."""
        if not self.picked:
            titles = ", ".join(self.header.titles)[:200]
            raise DataError(f"{self.file}: no rows under the header {titles}", "download it again")
        texts = [[cell.strip() for cell in column] for column in zip(*self.picked, strict=True)]
        by_place = dict(zip(self.columns.positions(), texts, strict=True))
        for event in self.events:  # its text stands where a price would
            for place in self.columns.numbers.values():
                by_place[place][event.row] = ""
        time = self.columns.time
        return Table(
            dates=pd.Series(by_place[self.columns.date], dtype=object),
            times=None if time is None else by_place[time],
            numbers={kind: by_place[place] for kind, place in self.columns.numbers.items()},
            other_numbers=tuple(by_place[place] for place in self.columns.other_numbers),
            events=tuple(self.events),
            separator=self.header.separator,
        )


def _digits(cell: str) -> int:
    return sum(character.isdigit() for character in cell)


def _decimals(cell: str) -> int:
    """Number of digits behind the last separator; 0 without one."""
    return _digits(re.split(r"[.,]", cell)[-1]) if re.search(r"[.,]", cell) else 0
