"""`read_bars` on its own: the same bars in every layout, the rows above the dates, and numbers as people write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.repair import ACTION_COLUMNS, PRICE_COLUMNS
from mlops_cli.prices.sources.files.content import Content
from mlops_cli.prices.sources.files.reader import read_bars
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2024-02-20"), pd.Timestamp("2024-03-28"))
TITLES = {
    "open": "Open", "high": "High", "low": "Low", "close": "Close", "adj_close": "Adj Close", "volume": "Volume",
    "dividends": "Dividends", "stock_splits": "Stock Splits",
}  # fmt: skip
HEADER = "Date,Open,High,Low,Close,Adj Close,Volume"
ROW = "10,11,9,10.5,10.25,1000"


def never() -> str:
    raise AssertionError("the time zone is needed only for moments with an offset")


def read(folder: Path, text: str, ticker: str = "AAA", name: str = "AAA.csv") -> pd.DataFrame:
    (folder / name).write_text(text, encoding="utf-8")
    return read_bars(Content.of_file(folder / name), ticker, never)


def refused(folder: Path, text: str, ticker: str = "AAA") -> str:
    with pytest.raises(DataError) as raised:
        read(folder, text, ticker)
    assert raised.value.hint
    return raised.value.message.removeprefix(f"{folder / 'AAA.csv'}:").strip()


def bars(rows: int = 20, actions: bool = False) -> pd.DataFrame:
    table = generated_bars(SESSIONS[:rows], seed=3).round(4)
    return table.assign(stock_splits=0.0, dividends=0.1) if actions else table


def yahoo(table: pd.DataFrame) -> str:
    return table.rename(columns=TITLES).rename_axis("Date").to_csv()


def nasdaq(table: pd.DataFrame) -> str:
    lines = ["Date,Close/Last,Volume,Open,High,Low"]
    for day, row in table.iloc[::-1].iterrows():
        prices = ",".join(f'"${row[name]:,.4f}"' for name in ("open", "high", "low"))
        lines.append(f'{day:%m/%d/%Y},"${row["close"]:,.4f}","{row["volume"]:,.0f}",{prices}')
    return "\n".join(lines) + "\n"


def semicolons(table: pd.DataFrame) -> str:
    return table.rename(columns=TITLES).rename_axis("Date").to_csv(sep=";", date_format="%d.%m.%Y")


def three_headers(table: pd.DataFrame) -> str:
    lines = yahoo(table).splitlines()
    titles = lines[0].removeprefix("Date,")
    return "\n".join([f"Price,{titles}", "Ticker" + ",AAA" * (titles.count(",") + 1), "Date" + "," * 6, *lines[1:]])


@pytest.mark.parametrize("layout", [yahoo, semicolons, three_headers])
def test_every_layout_gives_the_same_bars(tmp_path, layout):
    frame = read(tmp_path, layout(bars()))
    pd.testing.assert_frame_equal(frame, bars(), check_freq=False, check_names=False)


def test_the_nasdaq_layout_gives_the_same_bars_newest_first(tmp_path):
    frame = read(tmp_path, nasdaq(bars()))
    assert frame["adj_close"].isna().all()
    expected = bars().iloc[::-1].assign(adj_close=np.nan)
    pd.testing.assert_frame_equal(frame, expected, check_freq=False, check_names=False)


def test_actions_are_read_behind_the_prices(tmp_path):
    frame = read(tmp_path, yahoo(bars(actions=True)))
    assert list(frame.columns) == [*PRICE_COLUMNS, *ACTION_COLUMNS]
    np.testing.assert_array_equal(frame["dividends"], np.full(20, 0.1))


def test_only_one_action_column_is_read_alone(tmp_path):
    frame = read(tmp_path, yahoo(bars(actions=True).drop(columns="stock_splits")))
    assert list(frame.columns) == [*PRICE_COLUMNS, "dividends"]


@pytest.mark.parametrize(
    "above",
    [
        "Prices of AAA,,,,,,\n",
        "Prices,from,somewhere,,,,\n,,,,,,\n",
        "sep,,,,,,\nAll figures in USD,,,,,,\n",
    ],
)
def test_titles_above_the_header_are_skipped(tmp_path, above):
    frame = read(tmp_path, f"{above}{HEADER}\n2024-03-11,{ROW}\n")
    assert frame.iloc[0].to_list() == [10, 11, 9, 10.5, 10.25, 1000]


def test_the_date_column_needs_no_title(tmp_path):
    frame = read(tmp_path, f"{HEADER.removeprefix('Date')}\n2024-03-11,{ROW}\n")
    assert frame.index[0] == pd.Timestamp("2024-03-11")


def test_an_unknown_title_over_the_dates_is_taken_for_the_date(tmp_path):
    frame = read(tmp_path, f"{HEADER.replace('Date', 'Handelstag')}\n2024-03-11,{ROW}\n")
    assert frame.index[0] == pd.Timestamp("2024-03-11")


def test_other_columns_are_left_out(tmp_path):
    frame = read(tmp_path, f"{HEADER},Comment,RSI\n2024-03-11,{ROW},fine,55\n")
    assert list(frame.columns) == list(PRICE_COLUMNS)


TWO_TICKERS = (
    "Ticker,BRK-B,BRK-B,BRK-B,BRK-B,BRK-B,BRK-B,AAA,AAA,AAA,AAA,AAA,AAA\n"
    "Price,Open,High,Low,Close,Adj Close,Volume,Open,High,Low,Close,Adj Close,Volume\n"
    "Date,,,,,,,,,,,,\n"
    "2024-03-11,1,2,0.5,1.5,1.25,7,10,11,9,10.5,10.25,1000\n"
)


@pytest.mark.parametrize(("ticker", "close"), [("AAA", 10.5), ("aaa", 10.5), ("BRK.B", 1.5), ("brk-b", 1.5)])
def test_of_several_tickers_the_wanted_one_is_read(tmp_path, ticker, close):
    frame = read(tmp_path, TWO_TICKERS, ticker)
    assert frame["close"].to_list() == [close]
    assert list(frame.columns) == list(PRICE_COLUMNS)


def test_the_tickers_of_a_file_are_listed_if_the_wanted_one_is_missing(tmp_path):
    assert refused(tmp_path, TWO_TICKERS, "MSFT") == "contains prices of AAA, BRK-B, not of MSFT"


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1000", 1000.0),
        ('"1,000"', 1000.0),
        ('"1,234,567.5"', 1_234_567.5),
        ("$1.5", 1.5),
        ("$ 1.5", 1.5),
        ("€7", 7.0),
        ("£7", 7.0),
        ("¥7", 7.0),
        (" 1.5 ", 1.5),
        ("1e3", 1000.0),
        ("-3", -3.0),
        (".5", 0.5),
        ("null", np.nan),
        ("N/A", np.nan),
        ("--", np.nan),
        ("10 000", 10_000.0),
        ("1'234'567", 1_234_567.0),
        ('"12,34,567"', 1_234_567.0),
        ("1.5M", 1_500_000.0),
        ("1.52k", 1_520.0),
        ("0.3B", 300_000_000.0),
    ],
)
def test_numbers_as_people_write_them(tmp_path, cell, value):
    frame = read(tmp_path, f"{HEADER}\n2024-03-11,10,11,9,10.5,10.25,{cell}\n2024-03-12,10,11,9,10.5,10.25,900\n")
    np.testing.assert_equal(frame["volume"].iloc[0], value)


@pytest.mark.parametrize("cell", ["many", "1.5X", '"1,00"', '"12,34"', "1.2.3", "$", "10 00", "%5"])
def test_what_is_no_number_is_refused_with_day_column_and_cell(tmp_path, cell):
    message = refused(tmp_path, f"{HEADER}\n2024-03-11,{ROW}\n2024-03-12,10,11,9,10.5,10.25,{cell}\n")
    assert message.startswith("2024-03-12: volume ")
    assert " is not a number" in message


@settings(max_examples=40)
@given(st.lists(st.floats(0.0001, 1e9, allow_nan=False), min_size=1, max_size=len(SESSIONS)))
def test_every_price_survives_the_file(tmp_path_factory, prices):
    folder = tmp_path_factory.getbasetemp()
    table = generated_bars(SESSIONS[: len(prices)]).assign(close=prices)
    frame = read(folder, yahoo(table))
    np.testing.assert_array_equal(frame["close"], prices)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("Date,Open,High,Low,Close,Adj Close,Volume\n", "no rows under the header Date, Open, High, Low, Close"),
        ("just,some,words\n", "no column for open, high, low, close, volume (columns: Date, some, words)"),
        (f"2024-03-11,{ROW}\n", "row 1: no header line"),
        (f"{HEADER},Close\n2024-03-11,{ROW},1\n", "two columns contain close ('Close' is the second)"),
        ("Date,Volume\n2024-03-11,1\n", "no column for open, high, low, close (columns: Date, Volume)"),
        (f"{HEADER}\n2024-02-30,{ROW}\n", "data row 1: '2024-02-30' is not a date"),
    ],
)
def test_mistakes_of_a_file(tmp_path, text, said):
    assert refused(tmp_path, text).startswith(said)
