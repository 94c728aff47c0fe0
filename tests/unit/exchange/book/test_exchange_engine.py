"""The engine without HTTP: when orders are filled and at what price, what time does to them, what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import ConfigError
from mlops_cli.exchange.api.history import history_view
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.order_requests import read_order_request
from mlops_cli.exchange.book.records import MarketRules, RefusedError
from mlops_cli.exchange.market.price_path import PricePath
from tests.fakes.exchange_server import new_exchange
from tests.fakes.small_exchange import EXACT, FRIDAY_EVENING, announce, exchange_with, send, table, until

MONDAY = date(2024, 7, 1)


def test_the_path_touches_the_whole_bar() -> None:
    rising, falling = PricePath.of_bar(102, 110, 98, 105, 1), PricePath.of_bar(104, 106, 90, 92, 1)
    assert [rising.price(share) for share in (0, 1 / 3, 2 / 3, 1)] == pytest.approx([102, 98, 110, 105])
    assert [falling.price(share) for share in (0, 1 / 3, 2 / 3, 1)] == pytest.approx([104, 106, 90, 92])
    assert rising.extremes(1.0) == (98, 110)
    assert rising.reaches(100, 0, 1, falling=True) == pytest.approx(1 / 6)
    assert rising.reaches(104, 0, 1, falling=False) == pytest.approx(1 / 3 + (104 - 98) / (110 - 98) / 3)
    assert rising.reaches(97, 0, 1, falling=True) is None
    assert rising.reaches(110, 0, 0.5, falling=False) is None


@pytest.mark.parametrize(
    ("body", "status", "price"),
    [
        ({}, "filled", 102),
        ({"side": "sell"}, "filled", 102),
        ({"type": "limit", "limit_price": 103}, "filled", 102),  # better than the limit at the open
        ({"type": "limit", "limit_price": 100}, "filled", 100),
        ({"type": "limit", "limit_price": 97}, "expired", None),
        ({"type": "limit", "limit_price": 108, "side": "sell"}, "filled", 108),
        ({"type": "stop", "stop_price": 109}, "filled", 109),
        ({"type": "stop", "stop_price": 101}, "filled", 102),  # the open is beyond it
        ({"type": "stop", "stop_price": 99, "side": "sell"}, "filled", 99),
        ({"type": "stop", "stop_price": 111}, "expired", None),
        ({"type": "stop_limit", "stop_price": 108, "limit_price": 106}, "filled", 106),  # on the way down again
        ({"type": "stop_limit", "stop_price": 108, "limit_price": 104}, "expired", None),
        ({"time_in_force": "opg"}, "filled", 102),
        ({"time_in_force": "opg", "type": "limit", "limit_price": 101}, "canceled", None),
        ({"time_in_force": "cls"}, "filled", 105),
        ({"time_in_force": "cls", "type": "limit", "limit_price": 104}, "expired", None),
    ],
)
def test_what_becomes_of_an_order_overnight(body: dict[str, Any], status: str, price: float | None) -> None:
    exchange, account = exchange_with()
    order = send(exchange, account, **body)
    if body.get("time_in_force") in ("opg", "cls"):
        assert not order.filled_qty
    until(exchange, "2024-07-01T20:00:00")
    assert order.status == status
    average = float(order.filled_cost / order.filled_qty) if order.filled_qty else None
    assert average == (None if price is None else pytest.approx(price, abs=1e-3))


def test_orders_are_filled_when_the_price_is_there_and_not_before() -> None:
    exchange, account = exchange_with()
    order = send(exchange, account, type="limit", limit_price=100)
    until(exchange, "2024-07-01T14:34:00")  # the low of 98 is at a third of 390 minutes, 100 half way
    assert order.status == "new"
    until(exchange, "2024-07-01T18:00:00")
    assert order.status == "filled"
    assert order.filled_at == datetime(2024, 7, 1, 14, 35, tzinfo=UTC)


def test_the_same_in_one_step_or_in_many() -> None:
    ends = []
    for step in (timedelta(days=9), timedelta(minutes=7)):
        exchange, account = exchange_with()
        for body in ({}, {"type": "limit", "limit_price": 95}, {"type": "stop", "stop_price": 106}):
            send(exchange, account, time_in_force="gtc", **body)
        while exchange.state.now < datetime(2024, 7, 6, tzinfo=UTC):
            exchange.state.clock.advance(exchange.state.now + step)
            exchange.catch_up()
        fills = [{**one.body, "id": "", "order_id": "", "account_id": ""} for one in account.activities]
        ends.append((account.cash, {s: p.qty for s, p in account.positions.items()}, fills))
    assert ends[0] == ends[1]


def test_spread_and_slippage_are_paid() -> None:
    exchange, account = exchange_with(MarketRules(spread_bps=10, slippage_bps=3, volume_limit=1.0))
    buy = send(exchange, account)
    limit = send(exchange, account, type="limit", limit_price=103)
    until(exchange, "2024-07-01T13:30:00")
    assert buy.filled_cost / 10 == Decimal("102.0816")  # 8 bp
    assert limit.filled_cost / 10 == Decimal("102.0510")  # half the spread
    sell = send(exchange, account, side="sell")
    exchange.catch_up()
    assert sell.filled_cost / 10 == Decimal("101.9184")
    bid, ask, _ = exchange.state.quote("AAA") or (0.0, 0.0, None)
    assert (bid, ask) == pytest.approx((102 * 0.9995, 102 * 1.0005))


def test_volume_limits_a_fill_and_the_rest_expires() -> None:
    exchange, account = exchange_with(MarketRules(0, 0, 0.05))
    day, longer = send(exchange, account, qty=80), send(exchange, account, qty=30, time_in_force="gtc")
    until(exchange, "2024-07-01T13:30:00")
    assert (day.status, day.filled_qty, longer.filled_qty) == ("partially_filled", 50, 0)
    until(exchange, "2024-07-01T20:00:00")
    assert (day.status, day.filled_qty) == ("expired", 50)
    until(exchange, "2024-07-02T20:00:00")
    assert (longer.status, longer.filled_qty) == ("filled", 30)
    assert [one.body["type"] for one in account.activities] == ["partial_fill", "fill"]


def test_immediate_orders() -> None:
    exchange, account = exchange_with(MarketRules(0, 0, 0.05))
    until(exchange, "2024-07-01T15:00:00")
    fok = send(exchange, account, qty=60, time_in_force="fok")
    ioc = send(exchange, account, qty=60, time_in_force="ioc")
    exchange.catch_up()
    assert (fok.status, fok.filled_qty) == ("canceled", 0)
    assert (ioc.status, ioc.filled_qty) == ("canceled", 50)


def test_a_day_order_of_the_half_day_expires_at_one() -> None:
    exchange, account = exchange_with()
    until(exchange, "2024-07-03T14:00:00")
    order = send(exchange, account, type="limit", limit_price=50)
    until(exchange, "2024-07-03T16:59:00")
    assert order.status == "new"
    until(exchange, "2024-07-03T17:00:00")
    assert (order.status, order.expired_at) == ("expired", datetime(2024, 7, 3, 17, tzinfo=UTC))
    after = send(exchange, account)
    until(exchange, "2024-07-04T20:00:00")  # a holiday
    assert after.status == "accepted"
    until(exchange, "2024-07-05T13:30:00")
    assert after.status == "filled"


def test_auction_orders_have_their_hours() -> None:
    exchange, account = exchange_with()
    until(exchange, "2024-07-01T13:28:00")
    with pytest.raises(RefusedError, match="opg orders are not accepted"):
        send(exchange, account, time_in_force="opg")
    until(exchange, "2024-07-01T19:51:00")
    with pytest.raises(RefusedError, match="cls orders are not accepted"):
        send(exchange, account, time_in_force="cls")
    until(exchange, "2024-07-01T23:00:00")
    order = send(exchange, account, time_in_force="opg")
    until(exchange, "2024-07-02T13:30:00")
    assert (order.status, order.filled_cost) == ("filled", 1040)


def test_a_session_that_is_missing_in_the_table_is_no_trade() -> None:
    exchange, account = exchange_with(AAA=table().drop(pd.Timestamp("2024-07-01")))
    day, longer = send(exchange, account), send(exchange, account, time_in_force="gtc")
    until(exchange, "2024-07-01T20:30:00")
    assert (day.status, longer.status) == ("expired", "new")
    until(exchange, "2024-07-02T20:30:00")
    assert longer.filled_cost == 1040


def test_after_the_table_its_last_close_stands() -> None:
    exchange, account = exchange_with()
    until(exchange, "2025-03-03T13:00:00")
    order = send(exchange, account)
    until(exchange, "2025-03-03T14:30:00")
    assert order.filled_cost == 940


def test_nothing_is_sold_twice() -> None:
    exchange, account = exchange_with()
    send(exchange, account)
    until(exchange, "2024-07-01T14:00:00")
    send(exchange, account, side="sell", qty=7, type="limit", limit_price=200)
    with pytest.raises(RefusedError, match="insufficient qty available") as caught:
        send(exchange, account, side="sell", qty=4)
    assert caught.value.status == 403
    assert (caught.value.body["available"], caught.value.body["held_for_orders"]) == ("3", "7")
    send(exchange, account, side="sell", qty=3)
    exchange.catch_up()
    assert account.positions["AAA"].qty == 7


def test_wash_trades_are_refused() -> None:
    exchange, account = exchange_with()
    send(exchange, account, type="limit", limit_price=100)
    send(exchange, account, side="sell", type="limit", limit_price=110)
    for body in ({"side": "sell"}, {"side": "sell", "type": "limit", "limit_price": 99}):
        with pytest.raises(RefusedError, match="potential wash trade"):
            send(exchange, account, **body)


def test_buying_power_is_reserved_by_open_orders_and_freed_again() -> None:
    exchange, account = exchange_with()
    account.configurations["max_margin_multiplier"] = "1"
    first = send(exchange, account, type="limit", limit_price=50, qty=1900)
    assert exchange.state.worth(account).buying_power == 5000
    with pytest.raises(RefusedError, match="insufficient buying power"):
        send(exchange, account, type="limit", limit_price=50, qty=101)
    exchange.cancel(account, first.id)
    assert exchange.state.worth(account).buying_power == 100_000
    with pytest.raises(RefusedError, match='already in "canceled" state'):
        exchange.cancel(account, first.id)
    with pytest.raises(RefusedError, match="not allowed to short"):
        send(exchange, account, side="sell")


def test_a_refused_replacement_leaves_the_order() -> None:
    exchange, account = exchange_with()
    until(exchange, "2024-07-01T14:00:00")
    order = send(exchange, account, type="limit", limit_price=50)
    exchange.catch_up()
    body = {"symbol": "AAA", "side": "buy", "type": "limit", "time_in_force": "day", "limit_price": 50}
    with pytest.raises(RefusedError, match="buying power"):
        exchange.replace(account, order.id, read_order_request({**body, "qty": 90_000}))
    assert order.is_open
    assert account.reserved == 500
    assert exchange.replace(account, order.id, read_order_request({**body, "qty": 20})).qty == 20
    assert (order.status, account.reserved) == ("replaced", 1000)


def test_a_split_overnight_changes_shares_orders_and_prices_but_no_worth() -> None:
    exchange, account = exchange_with()
    send(exchange, account)
    until(exchange, "2024-07-01T20:30:00")
    low = send(exchange, account, type="limit", limit_price=47, time_in_force="gtc", qty=5)
    announce(exchange, type="split", ratio=2, date="2024-07-02")
    before = exchange.state.worth(account).equity
    until(exchange, "2024-07-02T13:29:59")
    assert (account.positions["AAA"].qty, exchange.state.worth(account).equity) == (10, before)
    until(exchange, "2024-07-02T13:30:00")
    assert (account.positions["AAA"].qty, account.positions["AAA"].average_price) == (20, 51)
    assert exchange.state.price("AAA") == 52
    assert exchange.state.market.close_before("AAA", date(2024, 7, 2)) == 52.5
    assert (low.qty, low.limit_price) == (10, Decimal("23.5"))
    assert [one.body["activity_type"] for one in account.activities] == ["FILL", "SPLIT"]
    until(exchange, "2024-07-02T20:30:00")
    assert exchange.state.worth(account).equity == account.cash + 20 * 46


def test_dividends_are_paid_to_holders_and_by_sellers() -> None:
    exchange, account = exchange_with()
    other = exchange.account("short", "secret")
    send(exchange, account)
    send(exchange, other, side="sell", qty=4)
    announce(exchange, type="dividend", amount="0.5", date="2024-07-02")
    until(exchange, "2024-07-01T20:30:00")
    assert (account.cash, other.cash) == (98_980, 100_408)
    until(exchange, "2024-07-02T13:30:00")
    assert (account.cash, other.cash) == (98_985, 100_406)


@pytest.mark.parametrize(("body", "cash"), [({}, 98_980 + 1050), ({"price": 7}, 98_980 + 70)])
def test_a_delisting_pays_out_and_ends_trade(body: dict[str, Any], cash: int) -> None:
    exchange, account = exchange_with()
    send(exchange, account)
    until(exchange, "2024-07-01T20:30:00")
    waiting = send(exchange, account, time_in_force="gtc", type="limit", limit_price=50)
    announce(exchange, type="delisting", date="2024-07-02", **body)
    until(exchange, "2024-07-02T14:00:00")
    assert (account.cash, account.positions) == (cash, {})
    assert waiting.status == "canceled"
    with pytest.raises(RefusedError, match="is not active"):
        send(exchange, account)


def test_a_delisted_symbol_may_stay_on_the_books() -> None:
    exchange, account = exchange_with()
    send(exchange, account)
    announce(exchange, type="delisting", date="2024-07-02", close_positions=False)
    until(exchange, "2024-07-02T14:00:00")
    assert account.positions["AAA"].qty == 10
    with pytest.raises(RefusedError, match="is not active"):
        send(exchange, account, side="sell")


def test_equity_by_day_and_the_last_one() -> None:
    exchange, account = exchange_with()
    send(exchange, account)
    until(exchange, "2024-07-02T21:00:00")
    assert account.equity == {MONDAY: Decimal(100_030), date(2024, 7, 2): Decimal(99_900)}
    assert exchange.state.last_equity(account) == (MONDAY, Decimal(100_030))
    until(exchange, "2024-07-03T05:00:00")
    assert exchange.state.last_equity(account) == (date(2024, 7, 2), Decimal(99_900))
    history = history_view(exchange.state, account, {"period": "1W"})
    assert history["equity"] == [100_030, 99_900, 99_900]
    with pytest.raises(RefusedError, match="1D"):
        history_view(exchange.state, account, {"timeframe": "5Min"})
    with pytest.raises(RefusedError, match="invalid"):
        history_view(exchange.state, account, {"period": "x"})


def test_time_does_not_go_back() -> None:
    exchange, _ = exchange_with()
    with pytest.raises(RefusedError, match="does not go back"):
        until(exchange, "2024-06-28T23:29:59")


def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "exchange.db"
    first = new_exchange({"AAA": table()}, FRIDAY_EVENING, file, EXACT)
    account = first.account("key", "secret")
    send(first, account, client_order_id="one")
    send(first, account, type="limit", limit_price=95, time_in_force="gtc", client_order_id="two")
    announce(first, type="split", ratio=2, date="2024-07-03")
    until(first, "2024-07-01T20:30:00")
    first.commit()
    first.close()
    second = new_exchange({"AAA": table()}, FRIDAY_EVENING, file)
    assert second.state.now == first.state.now
    assert second.state.rules == EXACT
    again = second.account("key", "secret")
    assert again == account
    with pytest.raises(RefusedError):
        second.account("key", "another")
    for exchange, one in ((first, account), (second, again)):
        until(exchange, "2024-07-03T20:30:00")
        assert one.positions["AAA"].qty == 40
    assert again.cash == account.cash
    assert "secret" not in file.read_bytes().decode("latin-1").replace("secret_hash", "")
    second.commit()
    second.close()
    with pytest.raises(ConfigError, match="the exchange's database ends at"):
        Exchange(second.state.market, type(second.state.clock)(None), store=_ahead(file))


def _ahead(file: Path) -> Any:
    """A store whose exchange has seen the future."""
    import sqlite3

    from mlops_cli.exchange.book.store import Store

    with sqlite3.connect(file) as database:
        database.execute("UPDATE world SET body = '\"2999-01-01T00:00:00+00:00\"' WHERE name = 'settled'")
    database.close()
    return Store(file)


def test_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(ConfigError, match="no database of an exchange"):
        new_exchange({"AAA": table()}, FRIDAY_EVENING, tmp_path / "x.db")


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.lists(st.integers(), max_size=1)
)
FIELDS = {
    "symbol": st.one_of(st.just("AAA"), ODD),
    "side": st.one_of(st.sampled_from(["buy", "sell"]), ODD),
    "type": st.one_of(st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop"]), ODD),
    "time_in_force": st.one_of(st.sampled_from(["day", "gtc", "opg", "cls", "ioc", "fok"]), ODD),
    **{
        name: st.one_of(st.sampled_from(["1", 2, 3.5, "1e12", "0.0001", "0.000000001", "1e-30", "NaN", "-1"]), ODD)
        for name in ("qty", "notional", "limit_price", "stop_price")
    },
    "client_order_id": ODD,
    "extended_hours": ODD,
    "order_class": ODD,
}


@given(body=st.fixed_dictionaries({}, optional=FIELDS))
def test_anything_is_an_order_or_refused(body: dict[str, Any]) -> None:
    exchange, account = exchange_with()
    try:
        order = exchange.submit(account, read_order_request(body))
    except RefusedError:
        return
    until(exchange, "2024-07-01T20:30:00")
    assert order.status in ("filled", "expired", "new", "canceled", "partially_filled")
