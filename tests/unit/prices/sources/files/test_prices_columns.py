"""What columns hold, by their titles."""

from __future__ import annotations

import pytest

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.columns import canonical, count_kinds, find_columns
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.files.table import looks_like_ticker, same_ticker

PLAIN = FileFormat()


def kinds(titles: str, form: FileFormat = PLAIN) -> dict[str, str]:
    names = titles.split(",")
    columns = find_columns(names, form, "F")
    placed = {"date": names[columns.date], **{kind: names[place] for kind, place in columns.numbers.items()}}
    placed |= {"time": names[columns.time]} if columns.time is not None else {}
    return placed | ({"symbol": names[columns.symbol]} if columns.symbol is not None else {})


@pytest.mark.parametrize(
    "titles",
    [
        "Date,Open,High,Low,Close,Volume",
        "DATE,OPEN,HIGH,LOW,LAST,VOL",
        "Date,Open,High,Low,Price,Vol.,Change %",
        "Datum,Eröffnung,Hoch,Tief,Schluss,Volumen",
        "Datum,Erster,Hoch,Tief,Schlusskurs,Stück,Volumen",
        "Date,Ouv.,Haut,Bas,Dernier,Vol.",
        "<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>",
        "t,o,h,l,c,v",
        "Date,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME",
        "Trade Date,Open Price,High Price,Low Price,Close Price,Total Traded Quantity",
        "timestamp,1. open,2. high,3. low,4. close,5. volume",
    ],
)
def test_usual_titles(titles):
    assert {"date", "open", "high", "low", "close", "volume"} <= kinds(titles).keys()


@pytest.mark.parametrize(
    ("titles", "kind", "title"),
    [
        ("Date,Open,High,Low,Last,Close,Volume", "close", "Close"),
        ("Date,Open,High,Low,Close,c,Volume", "close", "Close"),
        ("date,close,high,low,open,volume,adjClose,adjVolume,divCash,splitFactor", "stock_splits", "splitFactor"),
        ("timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient", "dividends",
         "dividend_amount"),
        ("Date,Open,High,Low,Close,Volume,Ex-Dividend,Split Ratio,Adj. Open,Adj. Close", "adj_close", "Adj. Close"),
        ("unix,date,symbol,open,high,low,close,Volume", "date", "date"),
        ("Date,Time,Open,High,Low,Close,Volume", "time", "Time"),
        ("Time,Open,High,Low,Close,Volume", "date", "Time"),
        ("Date,Open,High,Low,Close,Volume,Name", "symbol", "Name"),
        ("Date,Open,High,Low,Close,Volume,Name,Symbol", "symbol", "Symbol"),
    ],
)  # fmt: skip
def test_the_better_of_two_titles_is_taken(titles, kind, title):
    assert kinds(titles)[kind] == title


@pytest.mark.parametrize(
    ("titles", "said"),
    [
        ("Date,Open,High,Low,Close,Close/Last,Volume", "two columns contain close ('Close/Last' is the second)"),
        ("Date,Open,High,Low,Last,Price,Volume", "two columns contain close ('Price' is the second)"),
        ("Date,Date,Open,High,Low,Close,Volume", "two columns contain date"),
        ("Date,Open,High,Low,Close,Volume BTC", "no column for volume (columns: Date, Open, High, Low, Close, Vol"),
        ("When,Open,High,Low,Close,Volume", "no column for date"),
        ("Date,Open,High,Low,Settle,Volume", "no column for close"),
    ],
)
def test_what_is_missing_or_twice_is_named_with_the_setting(titles, said):
    with pytest.raises(DataError) as raised:
        kinds(titles)
    assert said in raised.value.message
    assert "source.columns: {TITLE:" in raised.value.hint


@pytest.mark.parametrize(
    ("titles", "columns", "kind", "title"),
    [
        ("Date,Open,High,Low,Settle,Volume", {"Settle": "close"}, "close", "Settle"),
        ("Date,Open,High,Low,Close,PX_SETTLE,Volume", {"px settle": "close"}, "close", "PX_SETTLE"),
        ("Date,Open,High,Low,Close,Close/Last,Volume", {"Close/Last": "ignore"}, "close", "Close"),
        ("Tag,Open,High,Low,Close,Volume", {"Tag": "date"}, "date", "Tag"),
        ("Date,Open,High,Low,Close,Volume,Paper", {"Paper": "symbol"}, "symbol", "Paper"),
    ],
)
def test_the_user_decides_what_a_column_holds(titles, columns, kind, title):
    assert kinds(titles, FileFormat(columns=columns))[kind] == title


def test_an_ignored_ticker_column_is_not_compared():
    assert "symbol" not in kinds("Date,Open,High,Low,Close,Volume,symbol", FileFormat({"symbol": "ignore"}))


def test_titles_without_case_accents_and_punctuation():
    assert canonical("  ADJ. CLOSE* ") == "adj_close"
    assert canonical("Eröffn.") == "eroffn"
    assert count_kinds(["Open", "open", "High", "Comment"], {}) == 2


@pytest.mark.parametrize(
    ("symbol", "ticker", "same"),
    [
        ("AAPL", "aapl", True),
        ("BRK-B", "BRK.B", True),
        ("STQ.US", "STQ", True),
        ("AAPL US Equity", "AAPL", True),
        ("MSFT UW Equity", "MSFT", True),
        ("NASDAQ:AAPL", "AAPL", True),
        ("BP.L", "BP", False),
        ("SAP", "SAP.DE", False),
        ("BRK.B", "BRK.A", False),
        ("LON:BP", "BP", False),
        ("AMD", "NVDA", False),
    ],
)
def test_whether_a_symbol_is_the_ticker(symbol, ticker, same):
    assert same_ticker(symbol, ticker) is same


def test_names_of_companies_are_no_tickers():
    assert all(map(looks_like_ticker, ["AMD", "BRK.B", "amd", "600519", "0700.HK", "RELIANCE.NS", "T250", "M&M"]))
    assert not any(map(looks_like_ticker, ["Apple", "Advanced Micro Devices", "Apple, Inc.", ""]))
