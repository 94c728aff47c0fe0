from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import ConfigError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.repair import PRICE_COLUMNS
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure
from mlops_cli.prices.table import assemble
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2024-02-20"), pd.Timestamp("2024-03-28"))
YAHOO = "Date,Open,High,Low,Close,Adj Close,Volume\n"
ROW = "10.0,11.0,9.0,10.5,10.25,1000"


def fetch(folder: Path, ticker: str = "AAA", exchange: str = "XNYS") -> RawBars | SourceFailure:
    [answer] = CsvSource(folder).fetch(FetchRequest([ticker], exchanges={ticker: exchange}), lambda line: None)
    return answer


def read(folder: Path, text: str | bytes, exchange: str = "XNYS") -> pd.DataFrame:
    (folder / "AAA.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    answer = fetch(folder, exchange=exchange)
    assert isinstance(answer, RawBars), answer
    return answer.frame


def refusal(folder: Path, text: str | bytes) -> str:
    (folder / "AAA.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    answer = fetch(folder)
    assert isinstance(answer, SourceFailure), answer
    assert answer.exit_code == 4
    assert "AAA.csv" in answer.reason
    return answer.reason


def days(frame: pd.DataFrame) -> list[str]:
    return list(frame.index.strftime("%Y-%m-%d"))


def test_yahoo_layout(tmp_path):
    frame = read(tmp_path, YAHOO + f"2024-03-11,{ROW}\n2024-03-12,{ROW}\n")
    assert days(frame) == ["2024-03-11", "2024-03-12"]
    assert list(frame.columns) == list(PRICE_COLUMNS)
    assert frame.iloc[0].to_list() == [10.0, 11.0, 9.0, 10.5, 10.25, 1000.0]
    assert set(frame.dtypes.astype(str)) == {"float64"}


def test_columns_are_found_by_name_in_any_order_and_spelling(tmp_path):
    text = "volume,ADJ. CLOSE*,close,low,high,open,date,comment\n1000,10.25,10.5,9,11,10,2024-03-11,fine\n"
    assert read(tmp_path, text).iloc[0].to_list() == [10.0, 11.0, 9.0, 10.5, 10.25, 1000.0]


def test_dividends_and_splits_are_kept(tmp_path):
    text = YAHOO.strip() + f",Dividends,Stock Splits\n2024-03-11,{ROW},0.24,0\n2024-03-12,{ROW},0,2\n"
    frame = read(tmp_path, text)
    assert frame["dividends"].to_list() == [0.24, 0.0]
    assert frame["stock_splits"].to_list() == [0.0, 2.0]


def test_nasdaq_layout(tmp_path):
    text = (
        "Date,Close/Last,Volume,Open,High,Low\n"
        '03/14/2024,$173.00,"72,913,500",$172.91,"$1,174.31",$172.05\n'
        '03/13/2024,$171.13,"52,488,700",$172.77,$173.185,$170.76\n'
    )
    frame = read(tmp_path, text)
    assert days(frame) == ["2024-03-14", "2024-03-13"]
    assert frame["close"].to_list() == [173.0, 171.13]
    assert frame["high"].to_list() == [1174.31, 173.185]
    assert frame["volume"].to_list() == [72_913_500.0, 52_488_700.0]
    assert frame["adj_close"].isna().all()


YFINANCE_THREE_ROWS = (
    "Price,Adj Close,Close,High,Low,Open,Volume\nTicker,AAA,AAA,AAA,AAA,AAA,AAA\nDate,,,,,,\n"
    "2024-03-11,10.25,10.5,11,9,10,1000\n"
)
YFINANCE_TWO_ROWS = (
    ",Adj Close,Close,High,Low,Open,Volume\n,AAA,AAA,AAA,AAA,AAA,AAA\n2024-03-11,10.25,10.5,11,9,10,1000\n"
)
YFINANCE_BY_TICKER = (
    "Ticker,BBB,BBB,BBB,BBB,BBB,BBB,AAA,AAA,AAA,AAA,AAA,AAA\n"
    "Price,Open,High,Low,Close,Adj Close,Volume,Open,High,Low,Close,Adj Close,Volume\n"
    "Date,,,,,,,,,,,,\n"
    "2024-03-11,1,1,1,1,1,1,10,11,9,10.5,10.25,1000\n"
)


@pytest.mark.parametrize("text", [YFINANCE_THREE_ROWS, YFINANCE_TWO_ROWS, YFINANCE_BY_TICKER])
def test_saved_yfinance_downloads(tmp_path, text):
    frame = read(tmp_path, text)
    assert days(frame) == ["2024-03-11"]
    assert frame.iloc[0].to_list() == [10.0, 11.0, 9.0, 10.5, 10.25, 1000.0]


def test_a_file_of_another_ticker_is_refused(tmp_path):
    assert "contains prices of BBB, not of AAA" in refusal(tmp_path, YFINANCE_THREE_ROWS.replace("AAA", "BBB"))


def test_punctuation_in_tickers_does_not_matter(tmp_path):
    (tmp_path / "BRK.B.csv").write_text(YFINANCE_THREE_ROWS.replace("AAA", "BRK-B"))
    assert isinstance(fetch(tmp_path, "BRK.B"), RawBars)


@pytest.mark.parametrize("null", ["", "null", "NaN", "N/A", "-", " none "])
def test_nulls_become_nan(tmp_path, null):
    frame = read(tmp_path, YAHOO + f"2024-03-11,{ROW}\n2024-03-12,{','.join([null] * 6)}\n")
    assert frame.iloc[1].isna().all()
    assert frame.iloc[0].notna().all()


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators(tmp_path, separator):
    assert len(read(tmp_path, (YAHOO + f"2024-03-11,{ROW}\n").replace(",", separator))) == 1


def test_byte_order_mark_windows_line_ends_blank_lines_and_a_torn_last_line(tmp_path):
    text = (YAHOO + f"2024-03-11,{ROW}\n\n2024-03-12,{ROW}\n2024-03-13,10").replace("\n", "\r\n")
    frame = read(tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert days(frame) == ["2024-03-11", "2024-03-12", "2024-03-13"]
    assert np.isnan(frame["close"].iloc[2])


def test_a_header_repeated_in_the_middle_is_skipped(tmp_path):
    frame = read(tmp_path, YAHOO + f"2024-03-11,{ROW}\n" + YAHOO + f"2024-03-12,{ROW}\n")
    assert days(frame) == ["2024-03-11", "2024-03-12"]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2024-03-11", "2024-03-11"),
        ("20240311", "2024-03-11"),
        ("2024/03/11", "2024-03-11"),
        ("2024-03-11 13:30:00", "2024-03-11"),
        ("2024-03-11T09:30", "2024-03-11"),
        ("2024-03-11 00:00:00-04:00", "2024-03-11"),  # a label
        ("2024-03-11 00:00:00+09:00", "2024-03-11"),  # a label as well
        ("2024-03-11T13:30:00Z", "2024-03-11"),
        ("2024-03-12T00:30:00+00:00", "2024-03-11"),  # 20:30 in New York
        ("2024-03-12 00:15:00.500+00:00", "2024-03-11"),
        ("03/31/2024", "2024-03-31"),
        ("31/03/2024", "2024-03-31"),
        ("31.03.2024", "2024-03-31"),
        ("3/31/2024 16:00:00", "2024-03-31"),
        ("03/03/2024", "2024-03-03"),
    ],
)
def test_dates(tmp_path, cell, expected):
    assert days(read(tmp_path, YAHOO + f"{cell},{ROW}\n")) == [expected]


def test_dates_in_words(tmp_path):
    assert days(read(tmp_path, YAHOO + f'"Mar 11, 2024",{ROW}\n')) == ["2024-03-11"]


def test_moments_are_told_in_the_time_of_the_exchange(tmp_path):
    text = YAHOO + f"2022-01-02 16:00:00+00:00,{ROW}\n2022-01-03 16:00:00+00:00,{ROW}\n"  # midnight in Hong Kong
    assert days(read(tmp_path, text, exchange="XHKG")) == ["2022-01-03", "2022-01-04"]


def test_offsets_may_change_with_summer_time(tmp_path):
    text = YAHOO + f"2024-03-08 00:00:00-05:00,{ROW}\n2024-03-11 00:00:00-04:00,{ROW}\n"
    assert days(read(tmp_path, text)) == ["2024-03-08", "2024-03-11"]


def test_day_or_month_first_is_decided_by_the_whole_file(tmp_path):
    text = YAHOO + f"04/03/2024,{ROW}\n13/03/2024,{ROW}\n"
    assert days(read(tmp_path, text)) == ["2024-03-04", "2024-03-13"]


def test_day_or_month_first_is_not_guessed(tmp_path):
    assert "day first or month first" in refusal(tmp_path, YAHOO + f"04/03/2024,{ROW}\n05/03/2024,{ROW}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        (YAHOO, "no rows under the header Date, Open"),
        ("<!DOCTYPE html><html><body>Sign in</body></html>", "row 1: this is a web page, not prices"),
        ("\n  <HTML>\n", "a web page"),
        (f"2024-03-11,{ROW}\n", "no header line"),
        ("Date,Open,High\n2024-03-11,1,2\n", "no column for low, close, volume (columns: Date, Open, High)"),
        ("When,Open,High,Low,Volume\n2024-03-11,1,2,1,5\n", "no column for close"),
        (YAHOO.strip() + ",Close/Last\n2024-03-11," + ROW + ",10\n", "two columns contain close ('Close/Last'"),
        (YAHOO + f"2024-03-11,{ROW}\n2024-13-45,{ROW}\n", "data row 2: '2024-13-45' is not a date"),
        (YAHOO + f"2024-03-11,{ROW}\n99 bottles,{ROW}\n", "data row 2: '99 bottles' is not a date"),
        (YAHOO + "2024-03-11,10,11,9,ten,10,1000\n", ":2024-03-11: close 'ten' is not a number"),
        (YAHOO + "2024-03-11,10,11,9,10,10,1.5X\n", ":2024-03-11: volume '1.5X' is not a number"),
        (YAHOO.replace(",", ";") + "2024-03-11;10,5;11.5;9;1.0;10;1000\n", ":2024-03-11: open '10,5' is not a number"),
        (YAHOO + f"2024-03-11,{ROW},7,8,9\n", "not a table"),
        (b"\x50\x4b\x03\x04\xff\xfe\x00", "not a readable text file"),
    ],
)
def test_files_that_are_no_prices_are_refused_with_the_place(tmp_path, text, expected):
    assert expected in refusal(tmp_path, text)


def parquet(folder: Path, frame: pd.DataFrame) -> pd.DataFrame:
    frame.to_parquet(folder / "AAA.parquet")
    answer = fetch(folder)
    assert isinstance(answer, RawBars), answer
    return answer.frame


YAHOO_NAMES = {
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "adj_close": "Adj Close",
    "volume": "Volume",
}


def test_parquet_with_a_date_column(tmp_path):
    bars = generated_bars(SESSIONS).rename(columns=YAHOO_NAMES).rename_axis("Date").reset_index()
    frame = parquet(tmp_path, bars.astype({"Volume": "int64", "Close": "float32"}))
    assert frame.index.equals(SESSIONS)
    np.testing.assert_allclose(frame["close"], bars["Close"], rtol=1e-6)
    assert set(frame.dtypes.astype(str)) == {"float64"}


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York", "Asia/Tokyo"])
def test_parquet_with_a_date_index_of_any_zone(tmp_path, zone):
    bars = generated_bars(SESSIONS).tz_localize(zone)
    assert parquet(tmp_path, bars).index.equals(SESSIONS)


def test_parquet_with_moments(tmp_path):
    closes = (SESSIONS + pd.Timedelta(hours=20, minutes=30)).tz_localize("America/New_York").tz_convert("UTC")
    assert parquet(tmp_path, generated_bars(SESSIONS).set_axis(closes)).index.equals(SESSIONS)


def test_parquet_with_texts(tmp_path):
    bars = generated_bars(SESSIONS).rename_axis("date").reset_index().astype(str)
    frame = parquet(tmp_path, bars)
    assert frame.index.equals(SESSIONS)
    np.testing.assert_allclose(frame["close"], generated_bars(SESSIONS)["close"])


def test_parquet_of_a_yfinance_download_with_two_tickers(tmp_path):
    both = {
        ticker: generated_bars(SESSIONS, seed).rename(columns=YAHOO_NAMES) for seed, ticker in enumerate(["BBB", "AAA"])
    }
    download = pd.concat(both, axis=1, names=["Ticker", "Price"]).rename_axis("Date")
    frame = parquet(tmp_path, download.swaplevel(axis=1))
    np.testing.assert_allclose(frame["close"], both["AAA"]["Close"])


def test_an_empty_and_a_broken_parquet_file(tmp_path):
    generated_bars(SESSIONS[:0]).to_parquet(tmp_path / "AAA.parquet")
    (tmp_path / "BBB.parquet").write_bytes(b"PAR1 but no more")
    assert "the file is empty" in fetch(tmp_path, "AAA").reason
    assert "not a readable parquet file" in fetch(tmp_path, "BBB").reason


def test_case_of_the_file_name_does_not_matter(tmp_path):
    (tmp_path / "aaa.CSV").write_text(YAHOO + f"2024-03-11,{ROW}\n")
    answer = fetch(tmp_path, "AAA")
    assert isinstance(answer, RawBars)
    assert answer.origin == str(tmp_path / "aaa.CSV")
    assert answer.replaces_all


def test_unknown_ticker_names_near_ones(tmp_path):
    for name in ("AAPL", "AMZN", "MSFT"):
        (tmp_path / f"{name}.csv").write_text(YAHOO + f"2024-03-11,{ROW}\n")
    reason = fetch(tmp_path, "APPL").reason
    assert f"no APPL.csv or APPL.parquet in {tmp_path}" in reason
    assert "3 tickers: AAPL" in reason


def test_unknown_ticker_in_an_empty_folder(tmp_path):
    assert "it has no price files" in fetch(tmp_path).reason


def test_two_files_for_one_ticker_are_refused(tmp_path):
    (tmp_path / "AAA.csv").write_text(YAHOO + f"2024-03-11,{ROW}\n")
    generated_bars(SESSIONS).to_parquet(tmp_path / "AAA.parquet")
    assert "AAA.csv and AAA.parquet" in fetch(tmp_path).reason


def test_a_missing_folder_stops_everything(tmp_path):
    with pytest.raises(ConfigError) as caught:
        fetch(tmp_path / "nowhere")
    assert "source.folder" in caught.value.message


def test_progress_is_told(tmp_path):
    (tmp_path / "AAA.csv").write_text(YAHOO + f"2024-03-11,{ROW}\n")
    lines: list[str] = []
    list(CsvSource(tmp_path).fetch(FetchRequest(["AAA", "BBB"]), lines.append))
    assert len(lines) == 2
    assert "AAA (1 of 2)" in lines[0]


def test_from_file_to_table(tmp_path):
    bars = generated_bars(SESSIONS).rename_axis("session")
    text = bars.iloc[::-1].drop(columns="adj_close").rename(columns=YAHOO_NAMES).rename_axis("Date").to_csv()
    (tmp_path / "AAA.csv").write_text(text)
    table, provenance = assemble(fetch(tmp_path), None, "XNYS", None, None, "now")
    np.testing.assert_allclose(table["close"], bars["close"])
    assert {repair.rule for repair in provenance.repairs} == {"out_of_order", "missing_adj_close"}
    assert provenance.origin.endswith("AAA.csv")


def test_one_file_holds_the_rows_of_all_tickers(tmp_path):
    rows = "".join(f"2024-03-{day},{number},{number},{number},{number},{number},9,{name}\n"
                   for day in (11, 12) for number, name in ((10, "AAA"), (20, "BBB")))  # fmt: skip
    (tmp_path / "all.csv").write_text(YAHOO.strip() + ",symbol\n" + rows)
    source = CsvSource(tmp_path, file="all.csv")
    answers = list(source.fetch(FetchRequest(["BBB", "AAA", "CCC"]), lambda line: None))
    assert [answer.frame["close"].to_list() for answer in answers[:2]] == [[20.0, 20.0], [10.0, 10.0]]
    assert "contains prices of AAA, BBB, not of CCC" in answers[2].reason


def test_a_missing_file_of_all_tickers_fails_each_ticker(tmp_path):
    [answer] = CsvSource(tmp_path, file="all.csv").fetch(FetchRequest(["AAA"]), lambda line: None)
    assert "all.csv: cannot be read: No such file" in answer.reason


def test_the_settings_reach_the_files_and_the_source_can_be_pickled(tmp_path):
    (tmp_path / "AAA.csv").write_text("Tag;Open;High;Low;Settle;Volume\n02/03/2024;11,924;12,1;11,1;11,9;900\n")
    form = FileFormat({"Settle": "close", "Tag": "date"}, ",", "day-first")
    [answer] = pickle.loads(pickle.dumps(CsvSource(tmp_path, form))).fetch(FetchRequest(["AAA"]), lambda line: None)
    assert isinstance(answer, RawBars)
    assert answer.frame.iloc[0].to_list()[:4] == [11.924, 12.1, 11.1, 11.9]
    assert days(answer.frame) == ["2024-03-02"]
