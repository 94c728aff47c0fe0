"""Sources as they were on an evening: nothing later is in their answers."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pandas as pd
import pytest

from mlops_cli.live.replay.as_of import ActionsAsOf, PricesAsOf
from mlops_cli.prices.actions.action_source import ActionRequest, ListedDividend, Listing, Listings
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure
from tests.fakes.price_tables import random_prices

PRICES = random_prices(60, 1, start="2024-01-02")
SHUT = SourceFailure("SHUT", "SHUT: no file")


class Files:
    """A source that counts how often a ticker is read."""

    name = "csv"
    local = True

    def __init__(self, frame: pd.DataFrame = PRICES) -> None:
        self.asked: list[str] = []
        self._frame = frame

    def fetch(self, request: FetchRequest, progress: object) -> Iterator[RawBars | SourceFailure]:
        for ticker in request.tickers:
            self.asked.append(ticker)
            yield SHUT if ticker == "SHUT" else RawBars(ticker, self._frame, "a file")


def fetched(source: PricesAsOf, *tickers: str, exchange: str = "XNYS") -> list[RawBars | SourceFailure]:
    return list(source.fetch(FetchRequest(tickers, exchanges=dict.fromkeys(tickers, exchange)), lambda _: None))


def last_day(answer: RawBars | SourceFailure) -> date:
    assert isinstance(answer, RawBars)
    return answer.frame.index[-1].date()


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (datetime(2024, 2, 1, 20, 59, tzinfo=UTC), date(2024, 1, 31)),
        (datetime(2024, 2, 1, 21, 0, tzinfo=UTC), date(2024, 2, 1)),
        (datetime(2024, 2, 3, 12, 0, tzinfo=UTC), date(2024, 2, 2)),
    ],
)
def test_prices_end_with_the_last_session_that_had_closed(now: datetime, last: date) -> None:
    (answer,) = fetched(PricesAsOf(Files(), now), "AAA")
    assert last_day(answer) == last
    assert isinstance(answer, RawBars)
    assert (answer.origin, answer.replaces_all) == ("a file", True)


def test_each_ticker_is_cut_by_its_own_exchange() -> None:
    """At 18:00 UTC London has closed, and New York has not."""
    now = datetime(2024, 2, 1, 18, 0, tzinfo=UTC)
    assert last_day(fetched(PricesAsOf(Files(), now), "AAA", exchange="XLON")[0]) == date(2024, 2, 1)
    assert last_day(fetched(PricesAsOf(Files(), now), "AAA")[0]) == date(2024, 1, 31)


def test_dates_with_a_zone_or_a_time_of_day_are_cut_too() -> None:
    frame = PRICES.set_axis(pd.DatetimeIndex(PRICES.index).tz_localize("America/New_York") + pd.Timedelta(hours=16))
    (answer,) = fetched(PricesAsOf(Files(frame), datetime(2024, 2, 1, 21, 30, tzinfo=UTC)), "AAA")
    assert last_day(answer) == date(2024, 2, 1)


def test_a_file_is_read_once_for_all_evenings() -> None:
    files, read = Files(), {}
    for day in (1, 2, 5):
        answers = fetched(PricesAsOf(files, datetime(2024, 2, day, 22, tzinfo=UTC), read), "AAA", "SHUT", "BBB")
        assert sorted(answer.ticker for answer in answers) == ["AAA", "BBB", "SHUT"], "one answer for each"
        assert {last_day(answer) for answer in answers if isinstance(answer, RawBars)} == {date(2024, 2, day)}
    assert files.asked.count("AAA") == 1
    assert files.asked.count("SHUT") == 3, "what failed is tried again"


def test_another_process_reads_for_itself() -> None:
    source = PricesAsOf(Files(), datetime(2024, 2, 1, 22, tzinfo=UTC))
    fetched(source, "AAA")
    sent = pickle.dumps(source)
    assert len(sent) < 1.5 * len(pickle.dumps(PRICES)), "one copy of the bars, which this source itself has"
    other = pickle.loads(sent)
    assert last_day(fetched(other, "AAA")[0]) == date(2024, 2, 1)


class Listed:
    """A source of dividends that refuses what was announced after the request, as files do."""

    name = "csv"

    def __init__(self, *dividends: ListedDividend) -> None:
        self._dividends = dividends

    def fetch(self, request: ActionRequest, progress: object) -> Listings:
        late = [each for each in self._dividends if each.announced and each.announced > request.today("AAA")]
        assert not late, "announced in the future"
        return Listings({"AAA": Listing("AAA", "csv", self._dividends), "SHUT": SHUT}, ("a note",))


def known(now: datetime, *dividends: ListedDividend) -> list[date]:
    request = ActionRequest({"AAA": "XNYS", "SHUT": "XNYS"}, now)
    listings = ActionsAsOf(Listed(*dividends)).fetch(request, lambda _: None)
    assert listings.by_ticker["SHUT"] is SHUT
    assert listings.notes == ("a note",)
    listing = listings.by_ticker["AAA"]
    assert isinstance(listing, Listing)
    assert listing.complete
    return [each.ex_date for each in listing.dividends]


def test_a_dividend_is_known_from_the_day_of_its_announcement_on() -> None:
    dividend = ListedDividend(date(2024, 2, 9), 0.2, "a.csv:2", announced=date(2024, 2, 1))
    assert known(datetime(2024, 1, 31, 22, tzinfo=UTC), dividend) == []
    assert known(datetime(2024, 2, 1, 22, tzinfo=UTC), dividend) == [date(2024, 2, 9)]


def test_without_a_day_of_announcement_it_is_known_on_the_evening_before() -> None:
    monday = ListedDividend(date(2024, 2, 5), 0.2, "a.csv:2")
    past = ListedDividend(date(2023, 2, 6), 0.1, "a.csv:3")
    assert known(datetime(2024, 2, 1, 22, tzinfo=UTC), monday, past) == [date(2023, 2, 6)]
    assert known(datetime(2024, 2, 2, 22, tzinfo=UTC), monday, past) == [date(2024, 2, 5), date(2023, 2, 6)]
