"""What the columns of a price file hold, by their titles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mlops_cli.errors import DataError
from mlops_cli.prices.cleaning.repair import PRICE_COLUMNS
from mlops_cli.prices.sources.files.file_format import FileFormat

_TITLES = {
    "open": "open px_open open_price opening opening_price price_open 1_open eroffn eroffnung eroffnungskurs erster "
    "ouv ouverture apertura abertura",
    "high": "high px_high high_price price_high day_high 2_high hoch tageshoch hochst plus_haut haut maximo "
    "massimo maxima",
    "low": "low px_low low_price price_low day_low 3_low tief tagestief tiefst plus_bas bas minimo minima",
    "close": "close close_last px_close close_price price_close closing_price closing 4_close schluss schlusskurs "
    "cloture cierre chiusura fechamento close_close_price_adjusted_for_splits",
    "adj_close": "adj_close adjusted adjclose adjusted_close adjustedclose adj_close_price close_adj close_adjusted "
    "adj_closing_price 5_adjusted_close "
    "adj_close_adjusted_close_price_adjusted_for_splits_and_dividend_and_or_capital_gain_distributions",
    "volume": "volume vol px_volume 5_volume 6_volume volumen volumes shares_traded total_trade_quantity "
    "total_traded_quantity no_of_shares trade_volume",
    "dividends": "dividends dividend dividend_amount 7_dividend_amount divcash div_cash cash_dividend ex_dividend",
    "stock_splits": "stock_splits stock_split splits split split_coefficient 8_split_coefficient splitfactor "
    "split_factor split_ratio",
}  # fmt: skip
_SECOND_CHOICE = {
    "open": "o", "high": "h max", "low": "l min", "volume": "v tickvol tick_volume umsatz",
    "close": "c last px_last price last_price last_close ltp zuletzt letzter dernier ultimo",
}  # fmt: skip
_DAYS = (
    "date datum day session trade_date trading_date trading_day business_date price_date dtyyyymmdd fecha data date_d"
)
_MOMENTS = "datetime timestamp date_time gmt_time local_time utc_time t epoch unix unix_timestamp"
_SYMBOLS = "symbol ticker tic tickers symbols stock_symbol ticker_symbol act_symbol instrument"
_NAMES_OF_STOCKS = "name code security stock company"
_OTHER_NUMBERS = (
    "change chg change_pct chg_pct change_percent vwap vw adjopen adjhigh adjlow adj_open adj_high adj_low average "
    "prev_close previous_close 52w_h 52w_l"
)
_LONGEST_TITLE = 200
KINDS = (*PRICE_COLUMNS, "dividends", "stock_splits")


def _by_title(titles: Mapping[str, str]) -> dict[str, str]:
    return {title: kind for kind, words in titles.items() for title in words.split()}


_FIRST = _by_title(_TITLES)
_SECOND = _by_title(_SECOND_CHOICE)
_DATES = [set(_DAYS.split()), set(_MOMENTS.split()), {"time"}]
SYMBOL_TITLES = frozenset(_SYMBOLS.split())


@dataclass(frozen=True)
class Columns:
    """The positions of the columns that are read.

    Attributes:
        date: position of the dates.
        time: position of times of day in a column of their own.
        symbol: position of the instrument of each row.
        symbol_may_be_name: whether that column may hold the names of companies rather than tickers.
        numbers: position by kind: `PRICE_COLUMNS`, `dividends`, `stock_splits`.
        other_numbers: positions of numbers that are not kept, but show how the file writes numbers.
    """

    date: int
    time: int | None
    symbol: int | None
    symbol_may_be_name: bool
    numbers: Mapping[str, int]
    other_numbers: tuple[int, ...]

    def positions(self) -> tuple[int, ...]:
        """All positions that are read, in a fixed order: date, time, symbol, numbers, other numbers."""
        single = (self.date, self.time, self.symbol)
        return (*(place for place in single if place is not None), *self.numbers.values(), *self.other_numbers)


@lru_cache(maxsize=4096)
def canonical(title: str) -> str:
    """A column's title without case, accents and punctuation.

    >>> canonical("<ADJ. CLOSE*>"), canonical("Eröffn.")
    ('adj_close', 'eroffn')
    """
    letters = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", letters.lower()).strip("_")


def is_number_title(title: str, columns: Mapping[str, str]) -> bool:
    """Whether a column with this title holds prices, volumes, dividends or splits."""
    word = canonical(title)
    return word in _FIRST or word in _SECOND or _said(title, columns) in KINDS


def is_date_title(title: str, columns: Mapping[str, str]) -> bool:
    """Whether a column with this title holds dates."""
    return any(canonical(title) in words for words in _DATES) or _said(title, columns) == "date"


def count_kinds(titles: Iterable[str], columns: Mapping[str, str]) -> int:
    """How many different kinds of numbers these titles name."""
    words = [(canonical(title), _said(title, columns)) for title in titles if len(title) <= _LONGEST_TITLE]
    return len({_FIRST.get(word) or _SECOND.get(word) or said for word, said in words} & set(KINDS))


def find_columns(titles: Sequence[str], form: FileFormat, file: str) -> Columns:
    """Find what each column holds.

    Raises:
        DataError: a column is missing, or two columns hold the same.
    """
    table = _Titles.of(titles, form.columns, file)
    numbers = {kind: place for kind in KINDS if (place := table.number(kind)) is not None}
    date = table.date()
    missing = [kind for kind in PRICE_COLUMNS if kind not in {"adj_close", *numbers}]
    missing = [*(["date"] if date is None else []), *missing]
    if date is None or missing:
        shown = ", ".join(titles)[:200]
        raise DataError(
            f"{file}: no column for {', '.join(missing)} (columns: {shown})",
            "name the columns as Yahoo does, or say what they hold: source.columns: {TITLE: " + missing[0] + "}",
        )
    time = table.time(date)
    symbol, may_be_name = table.symbol()
    kept = {date, time, symbol, *numbers.values()}
    return Columns(date, time, symbol, may_be_name, numbers, tuple(set(table.other_numbers()) - kept))


def find_symbol(titles: Sequence[str]) -> tuple[int | None, bool]:
    """The position of the column that names the instrument of each row, and whether it may hold names of companies."""
    return _Titles.of(titles, {}, "").symbol()


def _said(title: str, columns: Mapping[str, str]) -> str | None:
    """What the user says that a column holds."""
    if not columns:
        return None
    text = title.strip()
    by_word = {canonical(name): kind for name, kind in columns.items()}
    return columns.get(text) or by_word.get(canonical(text))


@dataclass(frozen=True)
class _Titles:
    """The titles of a file by position: what the user says that they hold, and else their words."""

    titles: Sequence[str]
    said: Mapping[int, str]
    words: Mapping[int, str]
    file: str

    @classmethod
    def of(cls, titles: Sequence[str], columns: Mapping[str, str], file: str) -> _Titles:
        said = {place: kind for place, title in enumerate(titles) if (kind := _said(title, columns)) is not None}
        return cls(titles, said, {n: canonical(title) for n, title in enumerate(titles) if n not in said}, file)

    def number(self, kind: str) -> int | None:
        """The column of a kind: the user's choice, else one with a usual title, else one with a second-choice title."""
        first = [place for place, word in self.words.items() if _FIRST.get(word) == kind]
        second = [place for place, word in self.words.items() if _SECOND.get(word) == kind]
        return self._only(kind, self._by_user(kind) or first or second)

    def date(self) -> int | None:
        """The column of dates: days rather than moments, and moments rather than times of day."""
        groups = [self._by_user("date"), *(self._titled(words) for words in _DATES)]
        return self._only("date", next((places for places in groups if places), []))

    def time(self, date: int) -> int | None:
        """The column of times of day, if it is not the column of dates."""
        places = self._by_user("time") or self._titled(_DATES[-1])
        return places[0] if places and places[0] != date else None

    def symbol(self) -> tuple[int | None, bool]:
        """The column that names the instrument, and whether it may hold the names of companies."""
        sure = self._by_user("symbol") or self._titled(SYMBOL_TITLES)
        places = sure or self._titled(_NAMES_OF_STOCKS.split())
        return (places[0] if places else None), bool(places) and not sure

    def other_numbers(self) -> list[int]:
        """Columns of numbers that are not kept."""
        percentages = [place for place in self.words if "%" in self.titles[place]]
        return [*self._titled(_OTHER_NUMBERS.split()), *percentages]

    def _by_user(self, kind: str) -> list[int]:
        return [place for place, said in self.said.items() if said == kind]

    def _titled(self, words: Collection[str]) -> list[int]:
        return [place for place, word in self.words.items() if word in words]

    def _only(self, kind: str, places: Sequence[int]) -> int | None:
        if len(places) > 1:
            raise DataError(
                f"{self.file}: two columns contain {kind} ({self.titles[places[1]]!r} is the second)",
                "remove one of them, or say which is not meant: source.columns: {TITLE: ignore}",
            )
        return places[0] if places else None
