"""Finds the header of a text file: its separator, the titles of its columns, and where its rows begin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.columns import SYMBOL_TITLES, canonical, count_kinds, is_date_title, is_number_title
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.files.text_lines import split_line

_PRICES = 4
_SAMPLE = 500
_PRICE_WORD = re.compile(r"open|high|low|close|last|price|vol|adj", re.IGNORECASE)
_LONGEST_PAIR, _MOST_WORDS, _PAIR_LINES = 40, 5, 5  # titles are taken apart within these bounds
_TICKER = re.compile(r"[A-Z0-9^][A-Z0-9.^=-]{0,9}")
_CURRENCIES = ("USD", "EUR", "GBP", "JPY", "CHF", "INR", "CAD", "AUD", "HKD", "SEK", "NOK", "DKK", "CNY", "KRW", "BRL")
HEAD_LINES = 60  # the header is looked for in this number of lines
_SEPARATORS = ",;\t|"
_NAMED_SEPARATOR = re.compile(r'^"?sep=(.)"?$', re.IGNORECASE)
_WEB_PAGE = re.compile(r"<(!doctype|html|head|body|\?xml|script|meta|div|table)\b", re.IGNORECASE)
_BEGINS_LIKE_A_DATE = re.compile(
    r"\s*(?:[-+]?\d|(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? )?"
    r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zä]*\.?[ -]?\d"
    r"|(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? \d)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[-+$€£¥]?\s*+[.,]*+\d[\d.,]*+[KMB%]?")  # possessive: a cell may be a megabyte long


@dataclass(frozen=True)
class Header:
    """The header of a text file.

    Attributes:
        titles: of the columns; the column of the dates is called `Date` if it has no title.
        tickers: the ticker of each column, in the layouts of yfinance with several tickers; else None.
        instrument: the ticker that a line above the header names; None if none does.
        first_row: number of the line from which on the rows are.
    """

    separator: str
    titles: tuple[str, ...]
    tickers: tuple[str, ...] | None
    instrument: str | None
    first_row: int


def begins_like_a_date(cell: str) -> bool:
    """Whether a cell may be a date: it begins with a digit or with a month's or day's name before a number."""
    return _BEGINS_LIKE_A_DATE.match(cell) is not None


def find_header(lines: Sequence[tuple[int, str]], form: FileFormat, file: str) -> Header:
    """Find the header in the first lines of a file, which must not all be blank.

    Raises:
        DataError: it is a web page, or a table without a header.
    """
    lines = [line for line in lines if line[1].strip()]
    named = _NAMED_SEPARATOR.match(lines[0][1].strip()) if lines else None
    if len(lines) <= bool(named):
        raise DataError(f"{file}: the file is empty", "download it again")
    lines = lines[bool(named) :]
    _refuse_web_page(lines, file)
    separator = named[1] if named else _separator(lines, form.columns)
    rows = [(number, _cells(line, separator, file, number)) for number, line in lines]
    place, kinds = _best([cells for _, cells in rows], form.columns)
    if kinds == 0 and re.search(r"\d", rows[0][1][0]):
        raise DataError(f"{file}: row 1: no header line", "begin with Date,Open,High,Low,Close,Adj Close,Volume")
    return _header_at(place, rows, separator, form)


def _header_at(place: int, rows: Sequence[tuple[int, list[str]]], separator: str, form: FileFormat) -> Header:
    """The header with its titles in this one of the rows."""
    titles, tickers = _apart(rows[place][1], form.columns)
    dates = next((column for column, title in enumerate(titles) if is_date_title(title, form.columns)), None)
    below = _rows_of_header(rows[place + 1 :], dates or 0)
    around = [*rows[max(place - 1, 0) : place], *below]
    tickers = tickers or _ticker_row([cells for _, cells in around], len(titles))
    if dates is None:
        titles = ["Date", *titles[1:]]
    rest = rows[place + 1 + len(below) :]
    first_row = rest[0][0] if rest else rows[-1][0] + 1
    above = [cells for _, cells in rows[:place]]
    return Header(separator, tuple(titles), tickers, None if tickers else _instrument(above), first_row)


def _apart(titles: list[str], columns: Mapping[str, str]) -> tuple[list[str], tuple[str, ...] | None]:
    """The titles and their tickers if they are like `AAPL.Open`, `Close_AAPL` or `('Close', 'AAPL')`; currencies go."""
    sample = _sample(titles)
    if count_kinds(sample, columns) >= _PRICES or count_kinds([_pair(cell)[0] for cell in sample], columns) < _PRICES:
        return titles, None
    pairs = [_pair(title) for title in titles]
    names = [name for name, _ in pairs]
    tickers = tuple("" if other in _CURRENCIES else other for _, other in pairs)
    return names, tickers if any(tickers) else None


def _pair(title: str) -> tuple[str, str]:
    """The kind of number that a title names, and the other word in it; the title and "" if it is not of two words."""
    if not _PRICE_WORD.search(title):
        return title, ""
    for mark in islice(re.finditer(r"[._, (]", title[:_LONGEST_PAIR]), _MOST_WORDS):
        first, second = (part.strip("()[]'\" ,") for part in (title[: mark.start()], title[mark.end() :]))
        for name, other in ((first, second), (second, first)):
            if is_number_title(name, {}) and not is_number_title(other, {}) and _TICKER.fullmatch(other):
                return name, other
    return title, ""


def _refuse_web_page(lines: Sequence[tuple[int, str]], file: str) -> None:
    start = " ".join(line for _, line in lines[:5])[:2000].strip()
    if start.startswith("<") and _WEB_PAGE.search(start):
        raise DataError(
            f"{file}: row 1: this is a web page, not prices (it begins {start[:40]!r})",
            "the site answered with a page (login, consent, error) instead of data: download it again",
        )


def _separator(lines: Sequence[tuple[int, str]], columns: Mapping[str, str]) -> str:
    """The separator under which a line names most kinds of numbers; else the most frequent one of the first line."""

    def score(separator: str) -> tuple[int, int]:
        _, kinds = _best((line.replace('"', "").split(separator) for _, line in lines), columns)
        return kinds, lines[0][1].count(separator)

    return max(_SEPARATORS, key=score)


def _best(rows: Iterable[Sequence[str]], columns: Mapping[str, str]) -> tuple[int, int]:
    """The first row that names the four prices, else the row that names most kinds of numbers; and their count."""
    best, most = 0, -1
    for place, row in enumerate(rows):
        cells = _sample(row)
        kinds = count_kinds(cells, columns)
        if not kinds and place < _PAIR_LINES:
            kinds = count_kinds([_pair(cell)[0] for cell in cells], columns)
        if kinds > most:
            best, most = place, kinds
        if most >= _PRICES:
            break
    return best, most


def _sample(cells: Sequence[str]) -> Sequence[str]:
    """Cells from all over a row that is very wide."""
    return cells if len(cells) <= _SAMPLE else [*cells[:_SAMPLE], *cells[:: len(cells) // _SAMPLE]]


def _cells(line: str, separator: str, file: str, number: int) -> list[str]:
    return [cell.strip() for cell in split_line(line, separator, file, number)]


def _rows_of_header(rows: Sequence[tuple[int, list[str]]], dates: int) -> list[tuple[int, list[str]]]:
    """The rows below the titles that still belong to the header: without a date and without numbers."""
    count = 0
    for _, cells in rows:
        day = cells[dates] if dates < len(cells) else ""
        numbers = [cell for place, cell in enumerate(cells) if place != dates and _NUMBER.fullmatch(cell)]
        if begins_like_a_date(day) or (numbers and not (is_date_title(day, {}) or _is_symbol_word(day))):
            break
        count += 1
    return list(rows[:count])


def _is_symbol_word(cell: str) -> bool:
    return canonical(cell) in {"security", *SYMBOL_TITLES}


def _ticker_row(rows: Sequence[list[str]], width: int) -> tuple[str, ...] | None:
    """The first of the header's rows that has a text in each cell but the first; None if there is none."""
    for cells in rows:
        if len(cells) == width > 1 and all(cells[1:]) and not any(is_number_title(cell, {}) for cell in cells[1:]):
            return ("", *cells[1:])
    return None


def _instrument(above: Sequence[list[str]]) -> str | None:
    """The ticker in a line such as `Symbol: AAPL` or `Ticker,AAPL` above the header."""
    for cells in above:
        words = [word.strip() for cell in cells for word in cell.split(":", 1) if word.strip()]
        if len(words) == 2 and _is_symbol_word(words[0]):
            return words[1]
    return None
