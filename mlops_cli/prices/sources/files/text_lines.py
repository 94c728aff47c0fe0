"""The lines of a text file in any usual encoding, and their cells, one line in memory at a time."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.content import MOST_COLUMNS, Content

LONGEST_LINE = 1_000_000  # characters
MOST_LINES = 500_000  # of a body in memory; a file on disk may hold many tickers
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def encodings(content: Content) -> tuple[str, ...]:
    """The encodings to try, in order: what a byte order mark or zero bytes say, else UTF-8, else Windows' own."""
    head = content.head(400)
    for mark, encoding in _BOMS.items():
        if head.startswith(mark):
            return (encoding,)
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) // 4 and min(even, odd) == 0:
        return ("utf-16-le",) if odd else ("utf-16-be",)
    return ("utf-8", "cp1252")


def numbered_lines(content: Content, encoding: str) -> Iterator[tuple[int, str]]:
    """The lines without their ends, numbered from 1.

    Raises:
        DataError: a line is too long, or the content is not text.
        UnicodeDecodeError: the content does not have this encoding.
    """
    with content.open() as raw, io.TextIOWrapper(raw, encoding) as text:
        number = 0
        while line := text.readline(LONGEST_LINE + 1):
            number += 1
            if content.path is None and number > MOST_LINES:
                raise DataError(f"{content.name}: more than {MOST_LINES:,} lines", "send daily bars of one ticker")
            if len(line) > LONGEST_LINE:
                raise DataError(
                    f"{content.name}: line {number} has more than {LONGEST_LINE:,} characters", "it is not a price file"
                )
            if _CONTROL.search(line):
                raise not_text(content, f"line {number} contains control characters")
            yield number, line.rstrip("\n")


def not_text(content: Content, reason: str) -> DataError:
    """The error about a file that is no text."""
    return DataError(f"{content.name}: not a readable text file: {reason}", "save it as UTF-8 CSV")


def split_line(line: str, separator: str, file: str, number: int) -> list[str]:
    """The cells of one line.

    Raises:
        DataError: there are too many cells, or a quotation mark is not closed.
    """
    if line.count(separator) >= MOST_COLUMNS:
        raise DataError(
            f"{file}: line {number} has {line.count(separator) + 1:,} cells, and {MOST_COLUMNS:,} columns are read",
            "keep the columns of prices",
        )
    if '"' not in line:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator, strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(
            f"{file}: not a table: line {number}: {error}", "every quotation mark needs its end on the same line"
        ) from None
