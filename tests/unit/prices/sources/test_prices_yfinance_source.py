from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure
from mlops_cli.prices.sources.yfinance_source import OVERLAP, YfinanceSource
from mlops_cli.prices.table import assemble
from tests.fakes.fake_yahoo import FakeYahoo, generated_bars

ROOT = Path(__file__).resolve().parents[4]
RECORDED = ROOT.parent / "shared" / "fixtures" / "yahoo"
SESSIONS = sessions("XNYS", pd.Timestamp("2023-10-02"), pd.Timestamp("2024-03-28"))
NOW = pd.Timestamp("2024-03-28 22:00", tz="UTC")


@pytest.fixture
def yahoo() -> Iterator[FakeYahoo]:
    with FakeYahoo() as server:
        for seed, ticker in enumerate(("AAA", "BBB", "CCC")):
            server.list(ticker, generated_bars(SESSIONS, seed))
        yield server


class Asking:
    """A source pointed at the fake, and what it told on the way."""

    def __init__(self, yahoo: FakeYahoo, now: pd.Timestamp = NOW, timeout_s: float = 20.0, retries: int = 2) -> None:
        self.lines: list[str] = []
        self.source = YfinanceSource(
            rate_per_s=100_000, retries=retries, backoff_s=0, timeout_s=timeout_s, base_url=yahoo.url, clock=lambda: now
        )

    def all(self, *tickers: str, **request) -> dict[str, RawBars | SourceFailure]:
        answers = list(self.source.fetch(FetchRequest(tickers, **request), self.lines.append))
        assert len(answers) == len(tickers)
        return {answer.ticker: answer for answer in answers}

    def bars(self, ticker: str, **request) -> RawBars:
        answer = self.all(ticker, **request)[ticker]
        assert isinstance(answer, RawBars), answer
        return answer


def table_of(raw: RawBars, stored: pd.DataFrame | None = None) -> pd.DataFrame:
    return assemble(raw, stored, "XNYS", None, None, "now")[0]


def test_a_first_fetch_gives_the_whole_history(yahoo):
    raw = Asking(yahoo).bars("AAA")
    assert raw.replaces_all
    expected = yahoo.listings["AAA"].bars
    np.testing.assert_allclose(raw.frame[expected.columns], expected, rtol=1e-12)
    assert raw.frame.index.equals(SESSIONS)
    assert {"stock_splits", "dividends"} < set(raw.frame.columns)
    [request] = yahoo.asked("AAA")
    assert request.start.year == 1960


def test_the_period_is_asked_for_with_both_ends(yahoo):
    raw = Asking(yahoo).bars("AAA", start=date(2024, 1, 6), end=date(2024, 2, 3))
    [request] = yahoo.asked("AAA")
    assert (request.start, request.end) == (pd.Timestamp("2024-01-08"), pd.Timestamp("2024-02-03"))
    assert raw.frame.index[[0, -1]].strftime("%Y-%m-%d").to_list() == ["2024-01-08", "2024-02-02"]


def test_a_session_that_still_runs_is_not_asked_for(yahoo):
    raw = Asking(yahoo, now=pd.Timestamp("2024-03-28 19:59", tz="UTC")).bars("AAA")
    assert raw.frame.index[-1] == pd.Timestamp("2024-03-27")
    assert yahoo.asked("AAA")[0].end == pd.Timestamp("2024-03-28")


def test_dividends_and_splits_are_reported_on_their_days(yahoo):
    listing = yahoo.listings["AAA"]
    listing.dividends[SESSIONS[40]] = 0.24
    yahoo.restate("AAA", SESSIONS[60], 4)
    raw = Asking(yahoo).bars("AAA")
    assert raw.frame["dividends"][SESSIONS[40]] == 0.24
    assert raw.frame["stock_splits"][SESSIONS[60]] == 4
    assert raw.frame[["dividends", "stock_splits"]].to_numpy().sum() == 4.24


def test_nulls_stay_visible(yahoo):
    yahoo.listings["AAA"].bars.loc[SESSIONS[7]] = np.nan
    raw = Asking(yahoo).bars("AAA")
    assert raw.frame["close"].isna().sum() == 1
    _, provenance = assemble(raw, None, "XNYS", None, None, "now")
    assert [repair.rule for repair in provenance.repairs] == ["nulls", "missing_sessions"]


def test_only_missing_sessions_are_asked_for(yahoo):
    whole = yahoo.listings["AAA"].bars
    stored = table_of(RawBars("AAA", whole.iloc[:100], "x"))
    raw = Asking(yahoo).bars("AAA", start=SESSIONS[0].date(), stored={"AAA": stored})
    [request] = yahoo.asked("AAA")
    assert request.start == SESSIONS[100 - OVERLAP]
    assert request.end == pd.Timestamp("2024-03-29")
    assert not raw.replaces_all
    assert raw.frame.index.equals(SESSIONS[100:])
    np.testing.assert_allclose(table_of(raw, stored), whole)


def test_nothing_is_asked_for_when_nothing_is_missing(yahoo):
    stored = table_of(RawBars("AAA", yahoo.listings["AAA"].bars, "x"))
    raw = Asking(yahoo).bars("AAA", start=SESSIONS[0].date(), stored={"AAA": stored})
    assert yahoo.requests == []
    assert raw.frame.empty
    pd.testing.assert_frame_equal(table_of(raw, stored), stored)


def test_a_weekend_brings_nothing_new(yahoo):
    stored = table_of(RawBars("AAA", yahoo.listings["AAA"].bars, "x"))
    easter = pd.Timestamp("2024-03-31 12:00", tz="UTC")
    Asking(yahoo, now=easter).bars("AAA", start=SESSIONS[0].date(), stored={"AAA": stored})
    assert yahoo.requests == []


def test_a_history_restated_by_a_split_is_fetched_whole(yahoo):
    stored = table_of(RawBars("AAA", yahoo.listings["AAA"].bars.iloc[:100].copy(), "x"))
    yahoo.restate("AAA", SESSIONS[110], 2)
    raw = Asking(yahoo).bars("AAA", start=SESSIONS[0].date(), stored={"AAA": stored})
    assert raw.replaces_all
    assert [request.start for request in yahoo.asked("AAA")] == [SESSIONS[100 - OVERLAP], SESSIONS[0]]
    np.testing.assert_allclose(table_of(raw, stored), yahoo.listings["AAA"].bars)


def test_a_history_restated_by_a_dividend_is_fetched_whole(yahoo):
    listing = yahoo.listings["AAA"]
    stored = table_of(RawBars("AAA", listing.bars.iloc[:100].copy(), "x"))
    amount = 0.002 * float(listing.bars["close"].iloc[109])
    listing.dividends[SESSIONS[110]] = amount
    listing.bars.loc[listing.bars.index < SESSIONS[110], "adj_close"] *= 0.998
    raw = Asking(yahoo).bars("AAA", start=SESSIONS[0].date(), stored={"AAA": stored})
    assert raw.replaces_all
    np.testing.assert_allclose(table_of(raw, stored), listing.bars)


def test_rounding_of_stored_prices_is_no_restatement(yahoo):
    stored = table_of(RawBars("AAA", yahoo.listings["AAA"].bars.iloc[:100].astype("float32"), "x"))
    raw = Asking(yahoo).bars("AAA", start=SESSIONS[0].date(), stored={"AAA": stored})
    assert not raw.replaces_all


def test_a_period_that_begins_earlier_than_what_is_stored_is_fetched_whole(yahoo):
    stored = table_of(RawBars("AAA", yahoo.listings["AAA"].bars.iloc[50:], "x"))
    raw = Asking(yahoo).bars("AAA", start=SESSIONS[10].date(), stored={"AAA": stored})
    assert raw.replaces_all
    assert raw.frame.index.equals(SESSIONS[10:])


def test_a_ticker_that_did_not_trade_before_what_is_stored_is_not_fetched_whole(yahoo):
    stored = table_of(RawBars("AAA", yahoo.listings["AAA"].bars, "x"))
    raw = Asking(yahoo).bars("AAA", stored={"AAA": stored})  # since 1960, and Yahoo knows it from 2023
    [request] = yahoo.asked("AAA")
    assert request.start == SESSIONS[-OVERLAP]
    assert not raw.replaces_all
    assert raw.frame.empty


def test_an_unknown_ticker_fails_alone_with_yahoos_reason(yahoo):
    answers = Asking(yahoo).all("AAA", "NOPE", "BBB")
    failure = answers["NOPE"]
    assert isinstance(failure, SourceFailure)
    assert "No data found, symbol may be delisted" in failure.reason
    assert "finance.yahoo.com" in failure.reason
    assert failure.exit_code == 4
    assert isinstance(answers["AAA"], RawBars)
    assert isinstance(answers["BBB"], RawBars)


def test_a_period_before_the_ticker_traded(yahoo):
    failure = Asking(yahoo).all("AAA", start=date(2010, 1, 1), end=date(2010, 12, 31))["AAA"]
    assert isinstance(failure, SourceFailure)
    assert "Data doesn't exist for startDate" in failure.reason


def test_a_period_without_sessions_is_not_asked_for(yahoo):
    failure = Asking(yahoo).all("AAA", start=date(2024, 3, 30), end=date(2024, 3, 31))["AAA"]
    assert isinstance(failure, SourceFailure)
    assert "no finished session from 2024-03-30 to 2024-03-28" in failure.reason
    assert yahoo.requests == []


@pytest.mark.parametrize("troubles", [(429,), (429, 429), (503, 429), (500,), (504, 502)])
def test_refusals_are_asked_again(yahoo, troubles):
    yahoo.trouble("AAA", *troubles)
    asking = Asking(yahoo)
    assert len(asking.bars("AAA").frame) == len(SESSIONS)
    assert [request.status for request in yahoo.asked("AAA")] == [*troubles, 200]
    assert sum(f"HTTP {troubles[0]}, retrying" in line for line in asking.lines) >= 1


def test_silence_is_asked_again(yahoo):
    yahoo.trouble("AAA", "hang")
    asking = Asking(yahoo, timeout_s=1.0)
    assert len(asking.bars("AAA").frame) == len(SESSIONS)
    assert any("Timeout, retrying" in line for line in asking.lines)


def test_after_the_last_try_a_refused_ticker_fails_alone(yahoo):
    yahoo.trouble("AAA", 429, 429, 429)
    answers = Asking(yahoo).all("AAA", "BBB")
    failure = answers["AAA"]
    assert isinstance(failure, SourceFailure)
    assert "HTTP 429" in failure.reason
    assert failure.exit_code == 8
    assert len(yahoo.asked("AAA")) == 3
    assert isinstance(answers["BBB"], RawBars)


def test_when_no_ticker_is_answered_the_service_is_to_blame(yahoo):
    for ticker in ("AAA", "BBB"):
        yahoo.trouble(ticker, *[429] * 3)
    with pytest.raises(ServiceError, match="no answer from Yahoo"):
        Asking(yahoo).all("AAA", "BBB")


def test_when_nobody_listens_the_service_is_to_blame():
    with FakeYahoo() as gone:
        pass
    with pytest.raises(ServiceError, match="does not answer"):
        Asking(gone, retries=0).all("AAA")


def test_a_yahoo_that_refuses_everything_is_not_asked_for_every_ticker(yahoo):
    tickers = [f"T{number}" for number in range(40)]
    for ticker in tickers:
        yahoo.trouble(ticker, *[429] * 3)
    with pytest.raises(ServiceError):
        Asking(yahoo).all(*tickers)
    assert len({request.ticker for request in yahoo.requests}) < 12


@pytest.mark.parametrize(
    "body",
    [
        "<html>consent</html>",
        "{}",
        '{"chart": {"result": [{}], "error": null}}',
        '{"chart": null}',
        "Will be right back",
    ],
)
def test_a_malformed_answer_fails_its_ticker_only(yahoo, body):
    yahoo.trouble("AAA", body)
    answers = Asking(yahoo).all("AAA", "BBB")
    assert isinstance(answers["AAA"], SourceFailure)
    assert answers["AAA"].reason.startswith("AAA: ")
    assert isinstance(answers["BBB"], RawBars)


def test_an_answer_is_not_remembered_from_one_fetch_to_the_next(yahoo):
    asking = Asking(yahoo)
    period = {"start": date(2023, 11, 1), "end": date(2023, 12, 1)}  # far enough back for yfinance to cache it
    asking.bars("AAA", **period)
    yahoo.restate("AAA", SESSIONS[60], 2)
    raw = asking.bars("AAA", **period)
    assert len(yahoo.asked("AAA")) == 2
    np.testing.assert_allclose(raw.frame["close"], yahoo.listings["AAA"].bars["close"].loc[raw.frame.index])


def test_other_exchanges_have_their_own_days(yahoo):
    tokyo = sessions("XTKS", pd.Timestamp("2024-01-01"), pd.Timestamp("2024-03-28"))
    yahoo.list("7203.T", generated_bars(tokyo), timezone="Asia/Tokyo")
    raw = Asking(yahoo).bars("7203.T", start=date(2024, 1, 1), exchanges={"7203.T": "XTKS"})
    assert raw.frame.index.equals(tokyo)


def test_an_unknown_exchange_stops_before_anything_is_asked(yahoo):
    with pytest.raises(ConfigError):
        Asking(yahoo).all("AAA", "BBB", exchanges={"BBB": "NOPE"})
    assert yahoo.requests == []


def test_many_tickers_arrive_once_each(yahoo):
    tickers = [f"T{number}" for number in range(25)]
    for seed, ticker in enumerate(tickers):
        yahoo.list(ticker, generated_bars(SESSIONS[:30], seed))
    asking = Asking(yahoo)
    answers = asking.all(*tickers)
    assert set(answers) == set(tickers)
    for seed, ticker in enumerate(tickers):
        np.testing.assert_allclose(answers[ticker].frame["close"], generated_bars(SESSIONS[:30], seed)["close"])
    assert len(yahoo.requests) == 25
    assert any("(25 of 25)" in line for line in asking.lines)


def test_a_consumer_that_stops_early_leaves_nothing_behind(yahoo):
    source = Asking(yahoo).source
    stream = source.fetch(FetchRequest(["AAA", "BBB", "CCC"]), lambda line: None)
    assert isinstance(next(stream), RawBars)
    stream.close()


def test_no_file_is_written_into_the_home_folder(yahoo, tmp_path):
    code = (
        "import sys, pandas as pd\n"
        "from mlops_cli.prices.sources.yfinance_source import YfinanceSource\n"
        "from mlops_cli.prices.sources.source import FetchRequest\n"
        "source = YfinanceSource(base_url=sys.argv[1], clock=lambda: pd.Timestamp('2024-03-28 22:00'))\n"
        "[raw] = source.fetch(FetchRequest(['AAA']), lambda line: None)\n"
        "print(len(raw.frame))\n"
    )
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", code, yahoo.url], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(len(SESSIONS)), done.stderr
    assert done.stderr == ""
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "ticker", "start", "end", "rows", "split"),
    [
        ("chart-AAPL-2020-08-31-to-2020-11-07.json", "AAPL", date(2020, 8, 31), date(2020, 11, 6), 49, "2020-08-31"),
        ("chart-GOOG-2020-01-01-to-2020-01-03.json", "GOOG", date(2020, 1, 1), date(2020, 1, 2), 1, None),
        (
            "historical-via-chart-NVDA-split-2021-02-01-to-2022-01-31.csv.json",
            "NVDA",
            date(2021, 2, 1),
            date(2022, 1, 30),
            252,
            "2021-07-20",
        ),
        (
            "historical-via-chart-dividends-TSLA-no-dividends.json",
            "TSLA",
            date(2010, 6, 29),
            date(2023, 8, 11),
            3303,
            None,
        ),
    ],
)
def test_recorded_answers_of_the_real_yahoo(yahoo, file, ticker, start, end, rows, split):
    if not RECORDED.is_dir():
        pytest.skip("no ../shared/fixtures/yahoo on this machine")
    yahoo.recorded[ticker] = json.loads((RECORDED / file).read_text())["response"]["bodyJson"]
    raw = Asking(yahoo).bars(ticker, start=start, end=end)
    table, provenance = assemble(raw, None, "XNYS", start, end, "now")
    assert len(table) == rows
    assert table.index.equals(sessions("XNYS", start, end).rename("session"))
    assert [str(day.date()) for day in raw.frame.index[raw.frame["stock_splits"] > 0]] == ([split] if split else [])
    assert provenance.repairs == ()
    assert (table["close"].pct_change().abs().iloc[1:] < 0.25).all()
