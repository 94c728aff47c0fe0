"""The contract of `PriceSource`, run over every adapter through the same door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from mlops_cli.config.schemas.source import Source
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.repair import ACTION_COLUMNS, PRICE_COLUMNS
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.prices.sources.sample_source import SampleSource
from mlops_cli.prices.sources.source import FetchRequest, PriceSource, RawBars, SourceFailure
from mlops_cli.prices.sources.yfinance_source import YfinanceSource
from mlops_cli.prices.table import assemble, check_table
from tests.fakes.fake_yahoo import FakeYahoo, generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2012-01-03"), pd.Timestamp("2013-03-01"))
KNOWN = ("AAPL", "IBM", "MSFT")


@dataclass
class Adapter:
    """A source that knows the tickers of `KNOWN`, and a way to break one of them."""

    source: PriceSource
    break_ticker: Callable[[str], None] | None = None


def yahoo_adapter(yahoo: FakeYahoo) -> Adapter:
    for seed, ticker in enumerate(KNOWN):
        yahoo.list(ticker, generated_bars(SESSIONS, seed))
    source = YfinanceSource(
        rate_per_s=100_000,
        retries=0,
        backoff_s=0,
        base_url=yahoo.url,
        clock=lambda: pd.Timestamp("2013-03-02", tz="UTC"),
    )
    return Adapter(source, lambda ticker: yahoo.trouble(ticker, "<html>not today</html>"))


def csv_adapter(folder) -> Adapter:
    for seed, ticker in enumerate(KNOWN):
        names = {"adj_close": "Adj Close", **{name: name.title() for name in PRICE_COLUMNS if name != "adj_close"}}
        generated_bars(SESSIONS, seed).rename(columns=names).rename_axis("Date").to_csv(folder / f"{ticker}.csv")
    return Adapter(CsvSource(folder), lambda ticker: (folder / f"{ticker}.csv").write_text("<html>") and None)


@pytest.fixture(params=["sample", "csv", "yfinance"])
def adapter(request, tmp_path) -> Iterator[Adapter]:
    match request.param:
        case "sample":
            yield Adapter(SampleSource())
        case "csv":
            yield csv_adapter(tmp_path)
        case "yfinance":
            with FakeYahoo() as yahoo:
                yield yahoo_adapter(yahoo)


def fetch(adapter: Adapter, *tickers: str, **request) -> dict[str, RawBars | SourceFailure]:
    answers = list(adapter.source.fetch(FetchRequest(tickers, **request), lambda line: None))
    assert sorted(answer.ticker for answer in answers) == sorted(tickers)
    return {answer.ticker: answer for answer in answers}


def test_the_suite_covers_every_kind_of_source(adapter):
    assert adapter.source.name in Source.model_fields["kind"].annotation.__args__


def test_every_ticker_is_answered_exactly_once(adapter):
    answers = fetch(adapter, *KNOWN, "NOPE")
    assert {type(answers[ticker]) for ticker in KNOWN} == {RawBars}
    assert isinstance(answers["NOPE"], SourceFailure)


def test_no_tickers_no_answers(adapter):
    assert fetch(adapter) == {}


def test_bars_have_the_columns_of_the_contract_in_numbers(adapter):
    frame = fetch(adapter, "AAPL")["AAPL"].frame
    assert list(frame.columns[:6]) == list(PRICE_COLUMNS)
    assert set(frame.columns[6:]) <= set(ACTION_COLUMNS)
    assert set(frame.dtypes.astype(str)) == {"float64"}
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert frame.index.tz is None
    assert (frame.index == frame.index.normalize()).all()


def test_bars_say_where_they_come_from(adapter):
    answer = fetch(adapter, "IBM")["IBM"]
    assert answer.origin
    assert answer.replaces_all


def test_bars_become_a_checked_table(adapter):
    answer = fetch(adapter, "IBM")["IBM"]
    table, provenance = assemble(answer, None, "XNYS", SESSIONS[0].date(), SESSIONS[-1].date(), "now")
    check_table(table, "IBM")
    assert table.index.equals(SESSIONS.rename("session"))
    assert provenance.origin == answer.origin
    assert provenance.repairs == ()


def test_the_wanted_period_is_inside_what_is_given(adapter):
    start, end = SESSIONS[20], SESSIONS[40]
    frame = fetch(adapter, "AAPL", start=start.date(), end=end.date())["AAPL"].frame
    wanted = frame.loc[start:end]
    assert wanted.index.equals(SESSIONS[20:41])


def test_an_unknown_ticker_fails_in_words_that_help(adapter):
    failure = (
        fetch(adapter, "NOPE")["NOPE"] if adapter.source.name != "yfinance" else fetch(adapter, "NOPE", "IBM")["NOPE"]
    )
    assert isinstance(failure, SourceFailure)
    assert failure.exit_code == 4
    what, *hint = failure.reason.splitlines()
    assert "NOPE" in what
    assert hint
    assert hint[0]


def test_one_failing_ticker_does_not_harm_the_others(adapter):
    if adapter.break_ticker is None:
        answers = fetch(adapter, "AAPL", "NOPE", "MSFT")
        broken = answers["NOPE"]
    else:
        adapter.break_ticker("IBM")
        answers = fetch(adapter, *KNOWN)
        broken = answers["IBM"]
    assert isinstance(broken, SourceFailure)
    for ticker in ("AAPL", "MSFT"):
        assert isinstance(answers[ticker], RawBars)
        assert len(answers[ticker].frame) >= len(SESSIONS)


def test_asking_twice_gives_the_same(adapter):
    first, second = (fetch(adapter, "MSFT")["MSFT"].frame for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_what_is_stored_never_gets_lost(adapter):
    whole = fetch(adapter, "IBM")["IBM"]
    period = (SESSIONS[0].date(), SESSIONS[-1].date())
    expected, _ = assemble(whole, None, "XNYS", *period, "now")
    stored = expected.iloc[:200]
    request = {"start": period[0], "end": period[1], "stored": {"IBM": stored}}
    table, _ = assemble(fetch(adapter, "IBM", **request)["IBM"], stored, "XNYS", *period, "now")
    assert table.index.equals(expected.index)
    np.testing.assert_allclose(table, expected, rtol=1e-12)


def test_progress_is_told_in_short_lines(adapter):
    lines: list[str] = []
    list(adapter.source.fetch(FetchRequest(KNOWN), lines.append))
    assert len(lines) >= len(KNOWN)
    assert all(0 < len(line) < 120 and "\n" not in line for line in lines if "/" not in line)
