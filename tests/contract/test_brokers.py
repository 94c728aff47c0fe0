"""The contract of every broker adapter: one suite of numbered cases over Alpaca's client (over HTTP) and the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest

from mlops_cli.errors import BrokerError
from mlops_cli.exchange.book.clock import target
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import AssetFlags, CorporateAction
from mlops_cli.trading.alpaca.alpaca_broker import AlpacaBroker
from mlops_cli.trading.alpaca.alpaca_client import AlpacaAccess, Patience
from mlops_cli.trading.contract.broker import Broker, KeysRefused, OrderRefused
from mlops_cli.trading.contract.types import OrderIntent, client_order_id
from tests.fakes.exchange_server import exchange_server, new_exchange, some_prices
from tests.fakes.local_broker import LocalBroker

EVENING = "2024-01-02T21:30:00+00:00"
SESSION = date(2024, 1, 3)
LONG_AGO = datetime(2023, 12, 1, tzinfo=UTC)
PATIENCE = Patience((2.0, 5.0), 3, 0.01)


@dataclass
class Bench:
    """A broker under test, and the exchange behind it."""

    broker: Broker
    exchange: Exchange
    open: type

    def advance(self, to: str, seconds: float = 0) -> None:
        self.exchange.state.clock.advance(target(self.exchange.state.now, self.exchange.state.hours, to, seconds))
        self.exchange.catch_up()


@contextmanager
def over_http(prices: dict[str, pd.DataFrame] | None = None) -> Iterator[Bench]:
    with exchange_server(prices, start=EVENING) as server:

        def opened(key: str, secret: str) -> Broker:
            return AlpacaBroker(AlpacaAccess(key, secret, server.url), PATIENCE)

        yield Bench(opened("contract-key", "contract-secret"), server.exchange, opened)


@contextmanager
def in_process(prices: dict[str, pd.DataFrame] | None = None) -> Iterator[Bench]:
    exchange = new_exchange(prices, start=EVENING)

    def opened(key: str, secret: str) -> Broker:
        return LocalBroker(exchange, key, secret)

    yield Bench(opened("contract-key", "contract-secret"), exchange, opened)


@pytest.fixture(params=[over_http, in_process], ids=["alpaca", "local"])
def bench(request) -> Iterator[Bench]:
    with request.param() as made:
        yield made


def intent(side: str = "buy", ticker: str = "AAPL", part: int = 0, **changes) -> OrderIntent:
    name = client_order_id("red", ticker, SESSION, side, "abc", part)
    made = OrderIntent(
        team="red", ticker=ticker, session=SESSION, side=side, qty=Decimal(10), notional=None, type="market",
        limit_price=None, time_in_force="day", client_order_id=name,
        model="red-aapl", version="abc", forecast_bps=12.0, price_seen=Decimal(100),
    )  # fmt: skip
    return replace(made, **changes)


def test_b01_a_new_account_has_its_cash_and_nothing_else(bench):
    account = bench.broker.account()
    assert account.equity == account.cash == account.last_equity == Decimal(100_000)
    assert account.buying_power >= account.cash
    assert bench.broker.positions() == {}
    assert bench.broker.account_id() == bench.broker.account_id() != ""
    assert list(bench.broker.orders_since(LONG_AGO)) == []


def test_b02_time_is_utc_and_the_clock_says_whether_the_session_is_on(bench):
    clock = bench.broker.clock()
    assert (clock.now, clock.is_open) == (datetime(2024, 1, 2, 21, 30, tzinfo=UTC), False)
    assert clock.now.utcoffset() == timedelta(0)
    bench.advance("next_open", 60)
    assert bench.broker.clock().is_open


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        (date(2024, 7, 3), 13.5, 17.0),  # half day, summer time
        (date(2024, 11, 29), 14.5, 18.0),  # half day, winter time
        (date(2024, 3, 8), 14.5, 21.0),
        (date(2024, 3, 11), 13.5, 20.0),  # the clock was changed over the weekend
    ],
)
def test_b03_the_calendar_knows_half_days_and_the_change_of_the_clock(bench, day, opens, closes):
    (hours,) = bench.broker.calendar(day, day)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert (hours.session, hours.open, hours.close) == (
        day,
        midnight + timedelta(hours=opens),
        midnight + timedelta(hours=closes),
    )


def test_b04_the_calendar_has_no_holidays(bench):
    days = [one.session for one in bench.broker.calendar(date(2024, 7, 3), date(2024, 7, 8))]
    assert days == [date(2024, 7, 3), date(2024, 7, 5), date(2024, 7, 8)]


def test_b05_quotes_lie_around_the_price_and_leave_unknown_tickers_out(bench):
    quotes = bench.broker.quotes(["AAPL", "NOSUCH", "MSFT"])
    assert sorted(quotes) == ["AAPL", "MSFT"]
    quote = quotes["AAPL"]
    assert 0 < quote.bid < quote.ask
    assert quote.bid < quote.middle < quote.ask
    assert quote.time <= bench.broker.clock().now


def test_b06_an_order_after_the_close_waits_for_the_open_and_is_filled_there(bench):
    order = bench.broker.submit(intent())
    assert (order.status, order.final, order.filled_qty) == ("accepted", False, 0)
    assert (order.qty, order.side, order.ticker, order.time_in_force) == (10, "buy", "AAPL", "day")
    bench.advance("next_open", 60)
    after = bench.broker.order_by_client_id(intent().client_order_id)
    assert after is not None
    assert (after.id, after.status, after.final, after.filled_qty) == (order.id, "filled", True, 10)
    assert bench.broker.positions()["AAPL"].qty == 10


def test_b07_fills_are_told_once_each_and_account_for_the_cash_to_the_cent(bench):
    bench.broker.submit(intent())
    bench.advance("next_open", 60)
    (fill,) = bench.broker.activities_since(LONG_AGO).fills
    assert (fill.ticker, fill.side, fill.qty) == ("AAPL", "buy", 10)
    assert bench.broker.account().cash == Decimal(100_000) - fill.qty * fill.price
    assert fill.order_id == bench.broker.order_by_client_id(intent().client_order_id).id
    assert bench.broker.activities_since(bench.broker.clock().now + timedelta(days=1)).fills == ()


def test_b08_the_same_order_twice_is_one_order(bench):
    first, second = bench.broker.submit(intent()), bench.broker.submit(intent())
    assert first.id == second.id
    assert len(bench.broker.orders_since(LONG_AGO)) == 1


def test_b09_the_same_name_again_after_the_fill_is_still_the_first_order(bench):
    first = bench.broker.submit(intent())
    bench.advance("next_open", 60)
    assert bench.broker.submit(intent()).id == first.id
    assert bench.broker.positions()["AAPL"].qty == 10


def test_b10_an_order_that_was_never_sent_is_none(bench):
    assert bench.broker.order_by_client_id("red-AAPL-20240103-b-none") is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ticker": "NOSUCH"}, "asset"),
        ({"qty": Decimal(1_000_000)}, "buying power"),
        ({"qty": None, "notional": Decimal("0.5")}, "minimal amount"),
        ({"type": "limit", "limit_price": Decimal("100.001")}, "sub-penny"),
    ],
)
def test_b11_what_cannot_be_is_refused_in_words_and_leaves_no_order(bench, changes, words):
    with pytest.raises(OrderRefused, match=words):
        bench.broker.submit(intent(**changes))
    assert list(bench.broker.orders_since(LONG_AGO)) == []


def test_b12_more_than_is_held_cannot_be_sold(bench):
    bench.broker.submit(intent())
    bench.advance("next_close", 1800)
    with pytest.raises(OrderRefused, match="insufficient qty"):
        bench.broker.submit(intent("sell", qty=Decimal(11)))


def test_b13_cancel_ends_an_open_order_and_leaves_others_alone(bench):
    order = bench.broker.submit(intent())
    bench.broker.cancel(order.id)
    assert bench.broker.order_by_client_id(order.client_order_id).status == "canceled"
    bench.broker.cancel(order.id)
    bench.advance("next_open", 60)
    assert bench.broker.positions() == {}


def test_b14_an_unfilled_day_order_expires_at_the_close(bench):
    order = bench.broker.submit(intent(type="limit", limit_price=Decimal("1.00")))
    bench.advance("next_close", 60)
    after = bench.broker.order_by_client_id(order.client_order_id)
    assert (after.status, after.final, after.filled_qty) == ("expired", True, 0)


def test_b15_notional_and_fractional_orders_are_exact_decimals(bench):
    bench.broker.submit(intent(qty=None, notional=Decimal("1000.10")))
    bench.broker.submit(intent(ticker="MSFT", qty=Decimal("0.123456789")))
    bench.advance("next_open", 60)
    assert bench.broker.positions()["MSFT"].qty == Decimal("0.123456789")
    spent = sum(fill.qty * fill.price for fill in bench.broker.activities_since(LONG_AGO).fills)
    assert bench.broker.account().cash == Decimal(100_000) - spent


def test_b16_orders_come_oldest_first_and_since_a_time_only(bench):
    names = [bench.broker.submit(intent(part=part, qty=Decimal(1))).client_order_id for part in range(3)]
    assert [order.client_order_id for order in bench.broker.orders_since(LONG_AGO)] == names
    assert list(bench.broker.orders_since(bench.broker.clock().now + timedelta(seconds=1))) == []


def test_b17_a_split_is_an_activity_that_explains_the_position(bench):
    bench.broker.submit(intent())
    bench.advance("next_close", 60)
    bench.exchange.state.actions.append(CorporateAction("split", "AAPL", date(2024, 1, 4), Decimal(4)))
    bench.advance("next_open", 60)
    assert bench.broker.positions()["AAPL"].qty == 40
    (split,) = bench.broker.activities_since(LONG_AGO).others
    assert (split.kind, split.ticker, split.qty, split.cash) == ("SPLIT", "AAPL", 40, 0)


def test_b18_a_dividend_is_cash_and_no_shares(bench):
    bench.broker.submit(intent())
    bench.advance("next_close", 60)
    bench.exchange.state.actions.append(CorporateAction("dividend", "AAPL", date(2024, 1, 4), Decimal("0.24")))
    bench.advance("next_open", 60)
    (dividend,) = bench.broker.activities_since(LONG_AGO).others
    assert (dividend.kind, dividend.qty, dividend.cash) == ("DIV", 0, Decimal("2.40"))


def test_b19_another_secret_is_refused_and_said_without_it(bench):
    bench.broker.account()
    with pytest.raises(KeysRefused) as raised:
        bench.open("contract-key", "a-wrong-secret").account()
    assert "a-wrong-secret" not in str(raised.value)
    assert raised.value.exit_code == 3


def test_b20_accounts_are_strangers(bench):
    other = bench.open("another-key", "another-secret")
    bench.broker.submit(intent())
    assert other.order_by_client_id(intent().client_order_id) is None
    assert other.account_id() != bench.broker.account_id()
    assert other.submit(intent()).id != bench.broker.submit(intent()).id


def test_b21_hundreds_of_orders_and_fills_of_one_instant_are_all_told(bench):
    for part in range(510):
        bench.broker.submit(intent(part=part, qty=Decimal("0.01")))
    bench.advance("next_open", 60)
    assert len({order.id for order in bench.broker.orders_since(LONG_AGO)}) == 510
    assert len({fill.id for fill in bench.broker.activities_since(LONG_AGO).fills}) == 510
    assert bench.broker.positions()["AAPL"].qty == Decimal("5.1")


def test_b22_daily_bars_are_of_the_session_asked_for_and_as_far_as_it_has_come(bench):
    bars = bench.broker.bars(["AAPL", "NOSUCH", "MSFT"], date(2024, 1, 2))
    assert sorted(bars) == ["AAPL", "MSFT"]
    table = bench.exchange.state.market.tables.table("AAPL").loc["2024-01-02"]
    bar = bars["AAPL"]
    assert (bar.ticker, bar.session) == ("AAPL", date(2024, 1, 2))
    seen = [float(price) for price in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
    assert seen == pytest.approx(list(table[["open", "high", "low", "close", "volume"]]), rel=1e-4)
    assert bench.broker.bars(["AAPL"], SESSION) == {}, "it has not begun"
    assert bench.broker.bars([], SESSION) == {}
    bench.advance("next_open", 60)
    begun = bench.broker.bars(["AAPL"], SESSION)["AAPL"]
    bench.advance("next_close", 60)
    whole = bench.broker.bars(["AAPL"], SESSION)["AAPL"]
    assert begun.volume < whole.volume
    assert begun.open == whole.open
    assert begun.close != whole.close
    assert bench.broker.bars(["AAPL"], date(2024, 1, 2))["AAPL"] == bar


def test_b23_bars_are_in_the_shares_of_now(bench):
    before = bench.broker.bars(["AAPL", "MSFT"], date(2024, 1, 2))
    bench.exchange.state.actions.append(CorporateAction("split", "AAPL", SESSION, Decimal("1.25")))
    bench.advance("next_open", 60)
    after = bench.broker.bars(["AAPL", "MSFT"], date(2024, 1, 2))
    assert after["MSFT"] == before["MSFT"]
    assert float(after["AAPL"].close) == pytest.approx(float(before["AAPL"].close) / 1.25, abs=1e-3)


def test_b24_more_tickers_than_fit_into_a_request_are_all_answered(bench):
    strangers = [f"ZZ{chr(65 + number // 26)}{chr(65 + number % 26)}" for number in range(250)]
    asked = [*strangers[:120], "AAPL", *strangers[120:], "MSFT"]
    assert sorted(bench.broker.quotes(asked)) == ["AAPL", "MSFT"]
    assert sorted(bench.broker.bars(asked, date(2024, 1, 2))) == ["AAPL", "MSFT"]


@pytest.mark.parametrize("adapter", [over_http, in_process], ids=["alpaca", "local"])
def test_b25_share_classes_have_the_projects_names_here_and_alpacas_there(adapter):
    with adapter({"BRK-B": some_prices()["AAPL"]}) as bench:
        order = bench.broker.submit(intent(ticker="BRK-B"))
        assert order.ticker == "BRK-B"
        ((account,),) = [list(bench.exchange.state.accounts.values())]
        assert [one.symbol for one in account.orders.values()] == ["BRK.B"]
        assert list(bench.broker.quotes(["BRK-B"])) == list(bench.broker.bars(["BRK-B"], date(2024, 1, 2))) == ["BRK-B"]
        bench.advance("next_close", 60)
        bench.exchange.state.actions.append(CorporateAction("split", "BRK.B", date(2024, 1, 4), Decimal(2)))
        bench.advance("next_open", 60)
        assert list(bench.broker.positions()) == ["BRK-B"]
        told = bench.broker.activities_since(LONG_AGO)
        assert {one.ticker for one in [*told.fills, *told.others]} == {"BRK-B"}
        assert bench.broker.orders_since(LONG_AGO)[0].ticker == "BRK-B"


def test_b26_fractions_of_a_split_are_paid_out_and_told(bench):
    bench.broker.submit(intent(qty=Decimal(15)))
    bench.broker.submit(intent("sell", ticker="MSFT", qty=Decimal(7)))
    bench.advance("next_close", 60)
    cash = bench.broker.account().cash
    for symbol, ratio in (("AAPL", "1.5"), ("MSFT", "0.1")):
        bench.exchange.state.actions.append(CorporateAction("split", symbol, date(2024, 1, 4), Decimal(ratio)))
    bench.advance("next_open", 60)
    assert {ticker: held.qty for ticker, held in bench.broker.positions().items()} == {"AAPL": 22}
    told = {one.ticker: one for one in bench.broker.activities_since(LONG_AGO).others}
    assert (told["AAPL"].qty, told["MSFT"].qty) == (22, 0)
    assert told["AAPL"].cash > 0 > told["MSFT"].cash
    assert bench.broker.account().cash == cash + told["AAPL"].cash + told["MSFT"].cash


def test_b27_a_change_of_name_is_two_activities_that_explain_the_positions(bench):
    bench.broker.submit(intent())
    bench.advance("next_close", 60)
    bench.exchange.state.actions.append(CorporateAction("rename", "AAPL", date(2024, 1, 4), new_symbol="NEWCO"))
    bench.advance("next_open", 60)
    assert {ticker: held.qty for ticker, held in bench.broker.positions().items()} == {"NEWCO": 10}
    told = [(one.kind, one.ticker, one.qty, one.cash) for one in bench.broker.activities_since(LONG_AGO).others]
    assert told == [("NC", "AAPL", -10, 0), ("NC", "NEWCO", 10, 0)]
    assert sorted(bench.broker.quotes(["NEWCO"])) == ["NEWCO"]
    with pytest.raises(OrderRefused, match='AAPL: asset "AAPL" is not active'):
        bench.broker.submit(intent(part=1))


def test_b28_a_spin_off_is_shares_of_another_ticker(bench):
    bench.broker.submit(intent())
    bench.advance("next_close", 60)
    value, price = Decimal("0.25"), Decimal(10)
    spin_off = CorporateAction("spin_off", "AAPL", date(2024, 1, 4), value, new_symbol="PART", price=price)
    bench.exchange.state.actions.append(spin_off)
    bench.advance("next_open", 60)
    assert {ticker: held.qty for ticker, held in bench.broker.positions().items()} == {"AAPL": 10, "PART": 2}
    (told,) = bench.broker.activities_since(LONG_AGO).others
    assert (told.kind, told.ticker, told.qty, told.cash) == ("SPIN", "PART", 2, 5)


def test_b29_a_blocked_account_is_no_matter_of_the_keys(bench):
    order = bench.broker.submit(intent())
    (account,) = bench.exchange.state.accounts.values()
    account.trading_blocked = True
    with pytest.raises(OrderRefused, match="AAPL: account is not authorized to trade"):
        bench.broker.submit(intent(part=1))
    assert bench.broker.account().cash == 100_000
    assert [held.id for held in bench.broker.orders_since(LONG_AGO)] == [order.id]
    account.account_blocked = True
    with pytest.raises(OrderRefused, match="AAPL: account is blocked"):
        bench.broker.submit(intent(part=1))
    with pytest.raises(BrokerError, match="account is blocked"):
        bench.broker.cancel(order.id)


@pytest.mark.parametrize(
    ("flag", "changes", "words"),
    [
        ("tradable", {}, "AAPL: asset AAPL is not tradable"),
        ("shortable", {"side": "sell"}, "AAPL: asset AAPL cannot be sold short"),
        ("fractionable", {"qty": Decimal("1.5")}, "AAPL: asset .AAPL. is not fractionable"),
    ],
)
def test_b30_what_an_asset_does_not_allow_is_refused_in_words(bench, flag, changes, words):
    bench.exchange.state.assets["AAPL"] = AssetFlags(**{flag: False})
    with pytest.raises(OrderRefused, match=words):
        bench.broker.submit(intent(**changes))
    assert list(bench.broker.orders_since(LONG_AGO)) == []
