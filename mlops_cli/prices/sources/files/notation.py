"""Decides how a file writes numbers, and reads them.

`11,924` is eleven point nine in Berlin and eleven thousand in New York. All cells of a file must fit one notation: a
decimal point (with commas, spaces or apostrophes between thousands) or a decimal comma (with points, spaces or
apostrophes). If both fit and give different numbers, nothing is guessed: the file is refused, unless its separator `;`
and its dates 31.12.2024 also say that the comma is the decimal mark, or the user says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.table import Table

_NULL_WORDS = (
    "null nan none na n/a #n/a n.a. n.a nd n/d nil nul nat <na> \\n - -- --- \u2013 \u2014 . .. ... ? * x missing "
    "unknown #null! #value! #ref! #div/0! #num! #name? undefined void"
)
NULLS = frozenset(_NULL_WORDS.split(" ")) | {"", "not available", "no data", "n / a"}
_BLOOMBERG_NULL = re.compile(r"#N/A.*", re.IGNORECASE)
_SCALES = {"k": 3, "tsd": 3, "m": 6, "mn": 6, "mm": 6, "mio": 6, "b": 9, "bn": 9, "mrd": 9, "t": 12,
           "l": 5, "cr": 7}  # fmt: skip
_CURRENCY = r"(?:US\$|HK\$|[CA]\$|[$€£¥₹₩₽]|USD|EUR|GBP|GBX|GBp|CHF|JPY|INR|HKD|CAD|AUD|Rs\.?)"
_CELL = re.compile(
    rf"(?P<sign>[-+\u2212]?)\s*(?P<before>{_CURRENCY})?\s*(?P<sign2>[-+\u2212]?)\s*"
    r"(?P<core>(?:\d|[.,](?=\d))[\d.,'\u2019 \u00a0\u202f\u2009]*?(?:[eE][-+]?\d+)?)"
    rf"\s*(?P<after>{_CURRENCY})?\s*(?P<scale>[A-Za-z]{{1,3}}\.?)?"
)
_SPACED = re.compile(r"\d{1,3}(?:(?P<mark>['\u2019 \u00a0\u202f\u2009])\d{3})(?:(?P=mark)\d{3})*(?:[.,]\d*)?")
_RATIO = re.compile(r"(\d+(?:\.\d+)?)\s*(?::|/|-?for-?)\s*(\d+(?:\.\d+)?)", re.IGNORECASE)
_INFINITE = ("inf", "-inf", "infinity", "-infinity")
_PLAIN = re.compile(r"(?:(?:-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)?\n)*+")
_EITHER = re.compile(r"^-?[1-9]\d{0,2}[.,]\d{3}$", re.MULTILINE)
_FEW_DIGITS = re.compile(r"-?(?:0|[1-9]\d{0,2})|inf|-inf")
_MANY_DIGITS = re.compile(r"^-?\d{4,}(?:[.,]\d*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Notation:
    """One way to write numbers."""

    name: str
    decimal: str
    thousands: str

    def pattern(self) -> str:
        """What a number looks like. A first group of zero is no thousand, and the last group has three digits."""
        mark, point = re.escape(self.thousands), re.escape(self.decimal)
        indian = rf"|[1-9]\d?(?:{mark}\d\d)+{mark}\d{{3}}" if self.thousands == "," else ""
        whole = rf"(?:[1-9]\d{{0,2}}(?:{mark}\d{{3}})+{indian}|\d+)"
        return rf"-?(?:{whole}(?:{point}\d*)?|{point}\d+|\d+(?:{point}\d*)?[eE][-+]?\d+|inf)"

    def number(self, core: str) -> float:
        """The value of a text that fits the pattern."""
        return float(core.replace(self.thousands, "").replace(self.decimal, "."))


POINT, COMMA = Notation("point", ".", ","), Notation("comma", ",", ".")
_FITS = {notation: re.compile(rf"(?:{notation.pattern()})?") for notation in (POINT, COMMA)}
_ALL_FIT = {notation: re.compile(rf"(?:(?:{notation.pattern()})?\n)*+") for notation in (POINT, COMMA)}


@dataclass(frozen=True)
class _Column:
    """Numbers as texts without sign for plus, currency and suffix; "" where a number is missing."""

    kind: str
    texts: list[str]
    cores: list[str]
    scales: Mapping[int, int]
    joined: str

    def fits(self, notation: Notation) -> bool:
        return _ALL_FIT[notation].fullmatch(self.joined) is not None

    def misfits(self, notation: Notation) -> list[int]:
        return [row for row, core in enumerate(self.cores) if not _FITS[notation].fullmatch(core)]

    def unclear(self) -> list[int]:
        """Rows with cells such as `11,924`, in which the mark may be a decimal mark or a thousands mark."""
        if not _EITHER.search(self.joined):
            return []
        return [row for row, core in enumerate(self.cores) if _EITHER.match(core)]

    def values(self, notation: Notation) -> np.ndarray:
        if notation is POINT and not self.scales and "," not in self.joined:
            return np.array([float(core) if core else np.nan for core in self.cores], dtype="float64")
        values = np.array([notation.number(core) if core else np.nan for core in self.cores], dtype="float64")
        for row, power in self.scales.items():
            core = self.cores[row].replace(notation.thousands, "").replace(notation.decimal, ".")
            values[row] = float(f"{core}e{power}")
        return values


def read_numbers(table: Table, days: pd.DatetimeIndex, decimal: str | None, file: str) -> dict[str, np.ndarray]:
    """The numbers of a table by kind, in float64; missing ones are NaN.

    Args:
        table: as the file has it.
        days: of the rows, for messages.
        decimal: the decimal mark, if the user gave it.
        file: for messages.

    Raises:
        DataError: a cell is not a number, or the file does not say which mark is the decimal mark.
    """
    texts = {kind: cells for kind, cells in table.numbers.items() if isinstance(cells, list)}
    columns = [_parsed(kind, cells, days, file) for kind, cells in texts.items()]
    notation = _notation(columns, table, days, decimal, file)
    for column in columns:
        if decimal is None:
            _refuse_unclear(column, notation, days, file)
    read = {column.kind: column.values(notation) for column in columns}
    return {
        kind: read[kind] if kind in read else pd.Series(cells).to_numpy(dtype="float64", na_value=np.nan)
        for kind, cells in table.numbers.items()
    }


def _parsed(kind: str, texts: list[str], days: pd.DatetimeIndex, file: str) -> _Column:
    joined = "\n".join([*texts, ""])
    if _PLAIN.fullmatch(joined):
        return _Column(kind, texts, texts, {}, joined)
    cells = []
    for row, text in enumerate(texts):
        cell = _cell(kind, text)
        if cell is None:
            raise _no_number(file, days, row, kind, text)
        cells.append(cell)
    currencies = sorted({cell.currency for cell in cells} - {""})
    if len(currencies) > 1:
        raise DataError(f"{file}: {kind} is in {' and in '.join(currencies)}", "give prices in one currency")
    cores = [cell.core for cell in cells]
    scales = {row: cell.power for row, cell in enumerate(cells) if cell.power}
    return _Column(kind, texts, cores, scales, "\n".join([*cores, ""]))


def _no_number(file: str, days: pd.DatetimeIndex, row: int, kind: str, text: str, why: str = "") -> DataError:
    return DataError(f"{file}:{days[row].date()}: {kind} {text!r} is not a number{why}", "write 1234.5 or 1,234.5")


@dataclass(frozen=True)
class _Cell:
    """A cell taken apart: sign, digits and marks; the power of ten of its suffix; its currency."""

    core: str = ""
    power: int = 0
    currency: str = ""


def _cell(kind: str, text: str) -> _Cell | None:
    """The parts of a cell, without a core if a number is missing; None if it is not a number."""
    word = text.lower()
    if word in NULLS or _BLOOMBERG_NULL.fullmatch(text):
        return _Cell()
    if word in _INFINITE:
        return _Cell(word.replace("inity", ""))
    if kind == "stock_splits" and (ratio := _RATIO.fullmatch(text)) and float(ratio[2]):
        return _Cell(repr(float(ratio[1]) / float(ratio[2])))
    match = _CELL.fullmatch(text)
    return None if match is None else _number_cell(kind, match)


def _number_cell(kind: str, match: re.Match[str]) -> _Cell | None:
    suffix = (match["scale"] or "").rstrip(".").lower()
    power = _SCALES.get(suffix, 0) if kind == "volume" else 0
    core = match["core"]
    if _SPACED.fullmatch(core):
        core = re.sub(r"['\u2019 \u00a0\u202f\u2009]", "", core)
    if (suffix and not power) or not re.fullmatch(r"[\d.,]+(?:[eE][-+]?\d+)?", core):
        return None
    minus = "-" if {match["sign"], match["sign2"]} & {"-", "\u2212"} else ""
    return _Cell(minus + core, power, match["before"] or match["after"] or "")


def _notation(columns: list[_Column], table: Table, days: pd.DatetimeIndex, decimal: str | None, file: str) -> Notation:
    """The only notation that all cells fit, or that the file proves otherwise, or that the user gave."""
    if decimal is not None:
        notation = POINT if decimal == "." else COMMA
        return _checked(columns, notation, days, file, f" with source.decimal {decimal!r}")
    fitting = _fitting(columns)
    if not fitting:
        best = min((POINT, COMMA), key=lambda notation: _misfits(columns, notation))
        return _checked(columns, best, days, file, f" with a decimal {best.name}, as the other cells have")
    judges = [column for column in columns if column.kind != "volume"] or columns
    if len(_fitting(judges)) == 1:
        return fitting[0]
    return _proved_elsewhere(judges, fitting, table, days, file)


def _misfits(columns: list[_Column], notation: Notation) -> int:
    return sum(len(column.misfits(notation)) for column in columns)


def _fitting(columns: list[_Column]) -> list[Notation]:
    return [notation for notation in (POINT, COMMA) if all(column.fits(notation) for column in columns)]


def _proved_elsewhere(
    columns: list[_Column], fitting: list[Notation], table: Table, days: pd.DatetimeIndex, file: str
) -> Notation:
    """The fitting notation that other columns of prices, or separator and dates, prove; any if they mean the same.

    Volumes prove nothing about prices: a program may write `12.020` beside `1,39M`.
    """
    cells = [(column, row) for column in columns for row in column.unclear()]
    if not cells:
        return fitting[0]  # the volumes may have decided about themselves
    votes = _votes(table)
    if not votes and _is_continental(table) and not any("." in column.cores[row] for column, row in cells):
        votes = {COMMA}
    if len(votes) == 1 and votes <= set(fitting):
        return votes.pop()
    column, row = cells[0]
    raise unclear_mark(file, days, row, column.kind, column.texts[row])


def _is_continental(table: Table) -> bool:
    """Whether separator and dates are those of places with a decimal comma."""
    return table.separator == ";" and bool(table.dates.astype(str).str.match(r"\d{1,2}\.\d{1,2}\.\d{2,4}").all())


def unclear_mark(file: str, days: pd.DatetimeIndex, row: int, kind: str, text: str) -> DataError:
    """The error about a cell whose mark may be a decimal mark or a thousands mark."""
    mark = "." if "." in text else ","
    other = "," if mark == "." else "."
    return DataError(
        f"{file}:{days[row].date()}: {kind} {text!r}: is {mark!r} the decimal mark or a thousands mark? "
        "nothing in the file decides it",
        f'say which mark is the decimal mark: source.decimal: "{mark}" (or "{other}")',
    )


def _votes(table: Table) -> set[Notation]:
    return {vote for texts in table.other_numbers if (vote := _vote(texts)) is not None}


def _vote(texts: list[str]) -> Notation | None:
    """The only notation that fits numbers of a column that is not kept, such as `0.10%`."""
    cells = [_cell("", text.removesuffix("%").strip()) for text in texts]
    cores = [cell.core for cell in cells if cell is not None]
    if len(cores) < len(cells):
        return None
    fitting = [notation for notation in (POINT, COMMA) if all(map(_FITS[notation].fullmatch, cores))]
    return fitting[0] if len(fitting) == 1 else None


def _checked(columns: list[_Column], notation: Notation, days: pd.DatetimeIndex, file: str, why: str) -> Notation:
    """The notation, if all cells fit it; else an error about the first that does not."""
    for column in columns:
        for row in [] if column.fits(notation) else column.misfits(notation):
            raise _no_number(file, days, row, column.kind, column.texts[row], why)
    return notation


def _refuse_unclear(column: _Column, notation: Notation, days: pd.DatetimeIndex, file: str) -> None:
    """Refuse what one column leaves open: volumes such as `938.197`, or thousands marks in some cells only."""
    mark = ""
    if column.kind == "volume" and _may_be_thousands(column):
        mark = notation.decimal
    elif _MANY_DIGITS.search(column.joined) and not _marks_thousands(column, notation):
        mark = notation.thousands
    suspects = [row for row in column.unclear() if row not in column.scales and mark in column.cores[row]]
    if mark and suspects:
        raise unclear_mark(file, days, suspects[0], column.kind, column.texts[suspects[0]])


def _may_be_thousands(column: _Column) -> bool:
    """Whether each number has three digits behind its mark, or three digits at most and no mark.

    Volumes are whole numbers. The mark is then likely a thousands mark, whatever the decimal mark of the prices is.
    """
    return all(not core or _EITHER.match(core) or _FEW_DIGITS.fullmatch(core) for core in column.cores)


def _marks_thousands(column: _Column, notation: Notation) -> bool:
    """Whether a cell proves that the column has thousands marks: two of them, or one beside a decimal mark."""
    mark = notation.thousands
    return any(core.count(mark) > 1 or (mark in core and notation.decimal in core) for core in column.cores)
