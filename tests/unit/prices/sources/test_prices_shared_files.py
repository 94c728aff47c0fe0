"""Real files that some machines have beside the project: dirty ones with their known truth, and 503 clean stocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure
from mlops_cli.prices.table import Provenance, assemble, check_table


def load(
    path: Path, tmp_path: Path, ticker: str, exchange: str = "XNYS", start: str | None = None
) -> tuple[pd.DataFrame, Provenance]:
    """Through the front door: the file under the ticker's name in a folder of its own."""
    (tmp_path / f"{ticker}{path.suffix}").write_bytes(path.read_bytes())
    request = FetchRequest([ticker], exchanges={ticker: exchange})
    [answer] = CsvSource(tmp_path).fetch(request, lambda line: None)
    if isinstance(answer, SourceFailure):
        raise DataError(answer.reason)
    assert isinstance(answer, RawBars)
    first = pd.Timestamp(start).date() if start else None
    table, provenance = assemble(answer, None, exchange, first, None, "now")
    check_table(table, ticker)
    return table, provenance


def rules(provenance: Provenance) -> dict[str, int]:
    return {repair.rule: repair.count for repair in provenance.repairs}


@pytest.mark.parametrize(
    ("name", "exchange", "rule", "count"),
    [
        ("4063-T-1d-bad-stock-split", "XTKS", "unadjusted_split", 1),
        ("AET-L-1d-100x-error", "XLON", "unit_100x", 14),
        ("1398-HK-1d-bad-div", "XHKG", "dividend_adjustment", 1),
        ("ADIG-L-1d-bad-div", "XLON", "dividend_adjustment", 11),
    ],
)
def test_dirty_files_with_a_known_truth_come_out_as_the_truth(shared_data, tmp_path, name, exchange, rule, count):
    dirty = shared_data / "dirty"
    table, provenance = load(dirty / f"{name}.csv", tmp_path, "DIRTY", exchange)
    truth, of_truth = load(dirty / f"{name}-fixed.csv", tmp_path, "FIXED", exchange)
    pd.testing.assert_frame_equal(table, truth, rtol=1e-6)
    assert rules(provenance)[rule] == count
    assert rule not in rules(of_truth)


def test_a_file_appended_to_itself_fifteen_times_holds_each_session_once(shared_data, tmp_path):
    table, provenance = load(shared_data / "dirty" / "reappended-AAPL.csv", tmp_path, "AAPL")
    assert len(table) == 250
    assert rules(provenance) == {"out_of_order": 15, "missing_adj_close": 4000, "duplicates": 3750}
    assert table["volume"].iloc[-1] == 71_374_783  # the last session was appended while it ran: the fullest bar counts
    assert table["close"].iloc[-1] == pytest.approx(227.48)


def test_a_nasdaq_export_loads_whole(shared_data, tmp_path):
    table, provenance = load(shared_data / "dirty" / "nasdaq-export-AAL.csv", tmp_path, "AAL")
    assert len(table) == 2518
    assert table.index.equals(sessions("XNYS", table.index[0], table.index[-1]).rename("session"))
    assert table.iloc[-1].to_list() == [15.695, 15.695, 15.374, 15.66, 15.66, 25_751_940.0]
    assert rules(provenance) == {"out_of_order": 2517, "missing_adj_close": 2518}


def test_two_instruments_under_one_name_are_refused_and_the_period_after_them_loads(shared_data, tmp_path):
    path = shared_data / "dirty" / "nulls-DEN.csv"
    with pytest.raises(DataError) as caught:
        load(path, tmp_path, "DEN")
    assert "2003-12-01 (0.51491 -> 18.3)" in caught.value.message
    table, provenance = load(path, tmp_path, "DEN", start="2020-09-21")
    assert len(table) == 59
    assert rules(provenance) == {}


def test_weekly_bars_under_three_header_rows_are_refused_as_weekly(shared_data, tmp_path):
    path = shared_data / "dirty" / "three-header-rows.csv"
    with pytest.raises(DataError, match="5 sessions apart"):
        load(path, tmp_path, "IBM")
    with pytest.raises(DataError, match="contains prices of IBM, not of MSFT"):
        load(path, tmp_path, "MSFT")


@pytest.mark.parametrize("name", ["1398-HK-1d-bad-div", "ADIG-L-1d-bad-div"])
def test_files_of_other_exchanges_are_refused_under_new_yorks_calendar(shared_data, tmp_path, name):
    with pytest.raises(DataError, match="when the exchange was closed"):
        load(shared_data / "dirty" / f"{name}.csv", tmp_path, "T")


@pytest.mark.parametrize(("ticker", "rows"), [("AAPL", 11014), ("AMZN", 6950), ("SAP", 7282)])
def test_clean_histories_load_untouched(shared_data, tmp_path, ticker, rows):
    path = shared_data / "keys" / f"{ticker}.csv"
    table, provenance = load(path, tmp_path, ticker)
    assert len(table) == rows
    assert provenance.repairs == ()
    raw = pd.read_csv(path, index_col="Date", parse_dates=True)
    np.testing.assert_array_equal(table[["close", "adj_close"]], raw[["Close", "Adj Close"]])
    if ticker == "AAPL":
        assert table["close"].pct_change()["2000-09-29"] == pytest.approx(-0.5187, abs=1e-3)


@pytest.mark.slow
def test_five_hundred_stocks_load_untouched(shared_data):
    folder = shared_data / "universe"
    tickers = sorted(path.stem for path in folder.glob("*.parquet"))
    assert len(tickers) == 500
    for answer in CsvSource(folder).fetch(FetchRequest(tickers), lambda line: None):
        assert isinstance(answer, RawBars), answer
        table, provenance = assemble(answer, None, "XNYS", None, None, "now")
        assert provenance.repairs == (), answer.ticker
        np.testing.assert_array_equal(table, answer.frame[table.columns], answer.ticker)
