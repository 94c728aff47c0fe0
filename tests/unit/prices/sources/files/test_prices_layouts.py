"""Layouts as data vendors, exchanges, trading programs and spreadsheets write them: the same three bars in each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.content import Content
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.files.reader import read_bars

DAYS = ["2024-06-26", "2024-06-27", "2024-06-28"]
MEANT = pd.DataFrame(
    {
        "open": [1_790.33, 1_788.27, 1_792.55],
        "high": [1_790.78, 1_803.67, 1_838.18],
        "low": [1_789.17, 1_773.89, 1_791.24],
        "close": [1_790.71, 1_791.1, 1_832.54],
        "volume": [2_020_000.0, 1_930_000.0, 1_520_000.0],
    },
    index=pd.DatetimeIndex(DAYS),
)
PLAIN = (
    "Date,Open,High,Low,Close,Volume\n2024-06-26,1790.33,1790.78,1789.17,1790.71,2020000\n"
    "2024-06-27,1788.27,1803.67,1773.89,1791.10,1930000\n2024-06-28,1792.55,1838.18,1791.24,1832.54,1520000\n"
)
LAYOUTS = {
    "Investing.com": '"Date","Price","Open","High","Low","Vol.","Change %"\n'
    '"06/28/2024","1,832.54","1,792.55","1,838.18","1,791.24","1.52M","2.31%"\n'
    '"06/27/2024","1,791.10","1,788.27","1,803.67","1,773.89","1.93M","0.02%"\n'
    '"06/26/2024","1,790.71","1,790.33","1,790.78","1,789.17","2.02M","-0.10%"\n',
    "Investing.com in German": '"Datum","Zuletzt","Eröffn.","Hoch","Tief","Vol.","+/- %"\n'
    '"28.06.2024","1.832,54","1.792,55","1.838,18","1.791,24","1,52M","2,31%"\n'
    '"27.06.2024","1.791,10","1.788,27","1.803,67","1.773,89","1,93M","0,02%"\n'
    '"26.06.2024","1.790,71","1.790,33","1.790,78","1.789,17","2,02M","-0,10%"\n',
    "Polygon": "v,vw,o,c,h,l,t,n\n"
    "2020000,1790.1,1790.33,1790.71,1790.78,1789.17,1719374400000,900\n"
    "1930000,1790.2,1788.27,1791.1,1803.67,1773.89,1719460800000,900\n"
    "1520000,1810.3,1792.55,1832.54,1838.18,1791.24,1719547200000,900\n",
    "Stooq": "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
    "AAA.US,D,20240626,000000,1790.33,1790.78,1789.17,1790.71,2020000.0,0\n"
    "AAA.US,D,20240627,000000,1788.27,1803.67,1773.89,1791.10,1930000.0,0\n"
    "AAA.US,D,20240628,000000,1792.55,1838.18,1791.24,1832.54,1520000.0,0\n",
    "MetaTrader": "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<SPREAD>\n"
    "2024.06.26\t1790.33\t1790.78\t1789.17\t1790.71\t2020000\t0\n"
    "2024.06.27\t1788.27\t1803.67\t1773.89\t1791.10\t1930000\t0\n"
    "2024.06.28\t1792.55\t1838.18\t1791.24\t1832.54\t1520000\t0\n",
    "Bloomberg": "Security|AAA US Equity\nStart Date|2024-06-26\n\nDate|PX_OPEN|PX_HIGH|PX_LOW|PX_LAST|PX_VOLUME\n"
    "06/26/2024|1790.33|1790.78|1789.17|1790.71|2020000\n06/27/2024|1788.27|1803.67|1773.89|1791.10|1930000\n"
    "06/28/2024|1792.55|1838.18|1791.24|1832.54|1520000\n",
    "NSE": '"Date","series","OPEN","HIGH","LOW","PREV. CLOSE","ltp","close","vwap","VOLUME"\n'
    '"26-Jun-2024","EQ","1,790.33","1,790.78","1,789.17","1,788.00","1,790.7","1,790.71","1,790.5","20,20,000"\n'
    '"27-Jun-2024","EQ","1,788.27","1,803.67","1,773.89","1,790.71","1,791.1","1,791.10","1,790.5","19,30,000"\n'
    '"28-Jun-2024","EQ","1,792.55","1,838.18","1,791.24","1,791.10","1,832.5","1,832.54","1,810.5","15,20,000"\n',
    "Excel in German": "sep=;\nDatum;Eröffnung;Hoch;Tief;Schluss;Volumen\n"
    "26.06.2024;1.790,33;1.790,78;1.789,17;1.790,71;2.020.000\n"
    "27.06.2024;1.788,27;1.803,67;1.773,89;1.791,10;1.930.000\n"
    "28.06.2024;1.792,55;1.838,18;1.791,24;1.832,54;1.520.000\n;;;;;\n",
    "French": "Date;Ouv.;Haut;Bas;Dernier;Vol.\n"
    "26/06/2024;1 790,33;1 790,78;1 789,17;1 790,71;2,02M\n27/06/2024;1 788,27;1 803,67;1 773,89;1 791,10;1,93M\n"
    "28/06/2024;1 792,55;1 838,18;1 791,24;1 832,54;1,52M\n",
    "Swiss": "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen\n"
    "26.06.2024;1'790.33;1'790.78;1'789.17;1'790.71;2'020'000\n"
    "27.06.2024;1'788.27;1'803.67;1'773.89;1'791.10;1'930'000\n"
    "28.06.2024;1'792.55;1'838.18;1'791.24;1'832.54;1'520'000\n",
    "date and time apart": "Date,Time,Open,High,Low,Last,Volume\n"
    "2024.06.26,16:00,1790.33,1790.78,1789.17,1790.71,2020000\n"
    "2024.06.27,16:00,1788.27,1803.67,1773.89,1791.10,1930000\n"
    "2024.06.28,16:00,1792.55,1838.18,1791.24,1832.54,1520000\n",
    "Unix time": "Date,Open,High,Low,Close,Volume\n1719360000,1790.33,1790.78,1789.17,1790.71,2020000\n"
    "1719446400,1788.27,1803.67,1773.89,1791.10,1930000\n1719532800,1792.55,1838.18,1791.24,1832.54,1520000\n",
    "many tickers": "date,open,high,low,close,volume,Name\n2024-06-26,1,1,1,1,1,AAL\n2024-06-27,1,1,1,1,1,AAL\n"
    "2024-06-26,1790.33,1790.78,1789.17,1790.71,2020000,AAA\n2024-06-27,1788.27,1803.67,1773.89,1791.10,1930000,AAA\n"
    "2024-06-28,1792.55,1838.18,1791.24,1832.54,1520000,AAA\n2024-06-28,1,1,1,1,1,AAPL\n",
    "Yahoo's web page": "Date\tOpen\tHigh\tLow\tClose Close price adjusted for splits.\tAdj Close Adjusted close price "
    "adjusted for splits and dividend and/or capital gain distributions.\tVolume\n"
    "Jun 28, 2024\t1,792.55\t1,838.18\t1,791.24\t1,832.54\t1,832.54\t1,520,000\n"
    "Jun 27, 2024\t1,788.27\t1,803.67\t1,773.89\t1,791.10\t1,791.10\t1,930,000\n"
    "Jun 26, 2024\t1,790.33\t1,790.78\t1,789.17\t1,790.71\t1,790.71\t2,020,000\n",
    "Barchart": "Symbol: AAA\nTime,Open,High,Low,Last,Change,%Chg,Volume\n"
    "06/28/2024,1792.55,1838.18,1791.24,1832.54,41.44,+2.31%,1520000\n"
    "06/27/2024,1788.27,1803.67,1773.89,1791.10,0.39,+0.02%,1930000\n"
    "06/26/2024,1790.33,1790.78,1789.17,1790.71,-1.8,-0.10%,2020000\n"
    '"Downloaded from Barchart.com as of 06-28-2024 04:15pm CDT"\n',
    "with the name of the company": PLAIN.replace("Volume", "Volume,Name").replace("000\n", '000,"Apple, Inc."\n'),
}  # fmt: skip


def read(text: str | bytes, ticker: str = "AAA", form: FileFormat | None = None, zone: str = "America/New_York"):
    body = text if isinstance(text, bytes) else text.encode()
    return read_bars(Content.of_bytes(body), ticker, lambda: zone, form or FileFormat())


def assert_meant(bars: pd.DataFrame) -> None:
    bars = bars.sort_index()
    assert [f"{day:%F}" for day in bars.index] == DAYS
    np.testing.assert_allclose(bars[list(MEANT.columns)], MEANT, rtol=1e-12)


TICKER_IN_TITLES = [
    '"","{}.Open","{}.High","{}.Low","{}.Close","{}.Volume"',
    "Date,Open_{},High_{},Low_{},Close_{},Volume_{}",
    "Date,Open {},High {},Low {},Close {},Volume {}",
    """"('Date', '')","('Open', '{}')","('High', '{}')","('Low', '{}')","('Close', '{}')","('Volume', '{}')\"""",
]


@pytest.mark.parametrize("ticker", ["AAPL", "BRK.B"])
@pytest.mark.parametrize("titles", TICKER_IN_TITLES)
def test_titles_that_name_the_ticker(titles, ticker):
    text = PLAIN.replace("Date,Open,High,Low,Close,Volume", titles.replace("{}", ticker))
    assert_meant(read(text, ticker))
    with pytest.raises(DataError, match="contains prices of"):
        read(text, "NVDA")


def test_titles_that_name_two_tickers():
    titles = "Date," + ",".join(
        f"{t}.{kind}" for t in ("BBB", "AAA") for kind in ("Open", "High", "Low", "Close", "Volume")
    )
    rows = [f"{line.split(',')[0]},1,1,1,1,1,{','.join(line.split(',')[1:])}" for line in PLAIN.splitlines()[1:]]
    assert_meant(read("\n".join([titles, *rows]) + "\n"))


def test_titles_that_name_the_currency():
    assert_meant(read(PLAIN.replace("Open,High,Low,Close", "Open (USD),High (USD),Low (USD),Close (USD)")))


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name):
    assert_meant(read(LAYOUTS[name]))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines(encoding, end):
    assert_meant(read(PLAIN.replace("\n", end).encode(encoding)))


@pytest.mark.parametrize("name", ["Investing.com in German", "Excel in German"])
def test_files_of_old_windows_programs(name):
    assert_meant(read(LAYOUTS[name].encode("cp1252")))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_separators_and_quotation_marks(separator, quote):
    lines = [separator.join(f"{quote}{cell}{quote}" for cell in line.split(",")) for line in PLAIN.splitlines()]
    assert_meant(read("\n".join(lines) + "\n"))


def test_dividends_and_splits_in_rows_of_their_own():
    text = LAYOUTS["Yahoo's web page"]
    rows = "Jun 27, 2024\t0.24 Dividend\nJun 26, 2024\t10:1 Stock Splits\nJun 26, 2024\tDividend 0.5\n"
    bars = read(text + rows).sort_index()
    assert_meant(bars)
    assert bars["dividends"].to_list() == [0.5, 0.24, 0.0]
    assert bars["stock_splits"].to_list() == [10.0, 0.0, 0.0]


def test_a_dividend_on_a_day_without_a_bar_is_refused():
    with pytest.raises(DataError, match=r"2024-06-25: dividends '0\.24' on a day without a bar"):
        read(LAYOUTS["Yahoo's web page"] + "Jun 25, 2024\t0.24 Dividend\n")


def test_splits_as_ratios():
    text = (
        PLAIN.replace("Volume", "Volume,Stock Splits").replace("000\n", "000,0\n").replace("2020000,0", "2020000,3:2")
    )
    assert read(text)["stock_splits"].to_list() == [1.5, 0.0, 0.0]


@pytest.mark.parametrize("title", ["symbol", "Ticker", "<TICKER>", "act_symbol", "Name", "code"])
def test_a_column_that_names_another_ticker_is_refused(title):
    text = PLAIN.replace("Volume", f"Volume,{title}").replace("000\n", "000,AMD\n")
    with pytest.raises(DataError, match="contains prices of AMD, not of NVDA") as raised:
        read(text, "NVDA")
    assert "source.columns" in raised.value.hint
    assert_meant(read(text, "AMD"))
    assert_meant(read(text, "NVDA", FileFormat({title: "ignore"})))


@pytest.mark.parametrize("line", ["Symbol: AMD", "Ticker,AMD", "Security,AMD US Equity"])
def test_a_line_above_that_names_another_ticker_is_refused(line):
    with pytest.raises(DataError, match="contains prices of AMD"):
        read(f"{line}\n{PLAIN}", "NVDA")
    assert_meant(read(f"{line}\n{PLAIN}", "AMD"))


def test_rows_without_a_ticker_among_rows_of_several_are_refused():
    text = LAYOUTS["many tickers"] + "2024-07-01,1,1,1,1,1,\n"
    with pytest.raises(DataError, match="1 rows do not name their ticker, and the file has rows of AAL, AAPL"):
        read(text)


@pytest.mark.parametrize("others", [("AAL", "ABCDEFGH.NS"), ("Apple Inc", "Ford Co")])
def test_a_column_of_names_may_be_of_tickers_of_any_form(others):
    rows = "".join(f"2024-06-28,1,1,1,1,1,{name}\n" for name in others)
    text = PLAIN.replace("Volume", "Volume,Name").replace("000\n", "000,T250\n") + rows
    assert_meant(read(text, "T250"))
    with pytest.raises(DataError, match="contains prices of"):
        read(text, "NVDA")


def test_rows_of_two_companies_without_tickers_are_refused():
    text = (
        PLAIN.replace("Volume", "Volume,Name").replace("2020000", "2020000,Apple Inc").replace("1930000", "1,Ford Co")
    )
    with pytest.raises(DataError, match="contains prices of Apple Inc, Ford Co, not of AAA"):
        read(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!doctype html><body>Sign in</body>", "this is a web page"),
        ("<?xml version='1.0'?><a/>", "this is a web page"),
        ("sep=,\n", "the file is empty"),
        ("\ufeff", "the file is empty"),
        (
            PLAIN + "Source: somewhere\n" + "2024-07-01,1,1,1,1,1\n",
            "line 5: 'Source: somewhere' is not a row of prices",
        ),
        (PLAIN.replace("1790.78", '"1790.78'), "not a table: line 2"),
        (PLAIN.replace("1790.78", "1,790.78"), "not a table: line 2 has 7 cells, and the header 6"),
        (PLAIN + "Average,1,1,1,1,1\n", "data row 4: 'Average' is not a date"),
    ],
)
def test_what_is_no_table_of_prices(text, said):
    with pytest.raises(DataError) as raised:
        read(text)
    assert said in raised.value.message


@pytest.mark.parametrize(
    "below", ["Source: somewhere, all rights reserved\n", "\n\n,,,,,\n", '"© 2024, a, b, c, d, e, f"\n']
)
def test_notes_below_the_rows_are_left_out(below):
    assert_meant(read(PLAIN + below))
