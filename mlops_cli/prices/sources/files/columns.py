"""What the columns of a price file hold, by their titles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
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
    "adj_close": "adj_close adjclose adjusted_close adjustedclose adj_close_price close_adj close_adjusted "
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
    said = {position: _said(title, form.columns) for position, title in enumerate(titles)}
    words = {position: canonical(title) for position, title in enumerate(titles) if said[position] is None}
    numbers = {kind: place for kind in KINDS if (place := _place_of(kind, titles, said, words, file)) is not None}
    date, time = _date_and_time(titles, said, words, file)
    missing = [kind for kind in ("date", *PRICE_COLUMNS) if kind not in {"adj_close", *numbers}]
    missing = [kind for kind in missing if kind != "date" or date is None]
    if missing or date is None:
        shown = ", ".join(titles)[:200]
        raise DataError(
            f"{file}: no column for {', '.join(missing)} (columns: {shown})",
            "name the columns as Yahoo does, or say what they hold: source.columns: {TITLE: " + missing[0] + "}",
        )
    symbol, may_be_name = _symbol(said, words)
    other = [place for place, word in words.items() if word in _OTHER_NUMBERS.split() or "%" in titles[place]]
    kept = {date, time, symbol, *numbers.values()}
    return Columns(date, time, symbol, may_be_name, numbers, tuple(place for place in other if place not in kept))


def _said(title: str, columns: Mapping[str, str]) -> str | None:
    """What the user says that a column holds."""
    if not columns:
        return None
    text = title.strip()
    by_word = {canonical(name): kind for name, kind in columns.items()}
    return columns.get(text) or by_word.get(canonical(text))


def _place_of(
    kind: str, titles: Sequence[str], said: Mapping[int, str | None], words: Mapping[int, str], file: str
) -> int | None:
    """The column of a kind: the user's choice, else one with a usual title, else one with a second-choice title."""
    choices = (
        [place for place, word in said.items() if word == kind],
        [place for place, word in words.items() if _FIRST.get(word) == kind],
        [place for place, word in words.items() if _SECOND.get(word) == kind],
    )
    return _only([places for places in choices if places], kind, titles, file)


def _only(choices: Sequence[Sequence[int]], kind: str, titles: Sequence[str], file: str) -> int | None:
    if not choices:
        return None
    places = choices[0]
    if len(places) > 1:
        raise DataError(
            f"{file}: two columns contain {kind} ({titles[places[1]]!r} is the second)",
            f"remove one of them, or say which is not meant: source.columns: {{TITLE: ignore}} ({kind} is another)",
        )
    return places[0]


def _date_and_time(
    titles: Sequence[str], said: Mapping[int, str | None], words: Mapping[int, str], file: str
) -> tuple[int | None, int | None]:
    choices = [[place for place, kind in said.items() if kind == "date"]]
    choices += [[place for place, word in words.items() if word in group] for group in _DATES]
    date = _only([places for places in choices if places], "date", titles, file)
    times = [place for place, kind in said.items() if kind == "time"] or choices[-1]
    return date, times[0] if times and times[0] != date else None


def _symbol(said: Mapping[int, str | None], words: Mapping[int, str]) -> tuple[int | None, bool]:
    by_user = [place for place, kind in said.items() if kind == "symbol"]
    sure = by_user or [place for place, word in words.items() if word in SYMBOL_TITLES]
    names = [place for place, word in words.items() if word in _NAMES_OF_STOCKS.split()]
    places = sure or names
    return (places[0] if places else None), not sure
