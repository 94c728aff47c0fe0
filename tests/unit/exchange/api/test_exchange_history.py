"""Equity by day, and from what the profit of a day is counted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.exchange.api.history import DayRange, day_basis, history_view, read_days, read_period
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import Account, Activity, Position, RefusedError
from mlops_cli.market.hours import midnight
from tests.fakes.small_exchange import exchange_with, send, until

TODAY = date(2024, 7, 3)


@pytest.mark.parametrize(
    ("text", "days"), [("1D", 1), ("2w", 14), ("3M", 90), ("1A", 365), ("99A", 36_135), ("10d", 10)]
)
def test_periods(text: str, days: int) -> None:
    assert read_period(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "D", "0D", "-1D", "1Y", "x", "1.5D", "100A", "99999D"])
def test_what_is_no_period(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_period(text)


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ({}, "2024-06-03", "2024-07-03"),
        ({"period": "1W"}, "2024-06-26", "2024-07-03"),
        ({"start": "2024-06-28"}, "2024-06-28", "2024-07-03"),
        ({"start": "2024-06-28", "period": "2D"}, "2024-06-28", "2024-06-30"),
        ({"start": "2024-06-28", "end": "2024-07-01"}, "2024-06-28", "2024-07-01"),
        ({"end": "2024-07-01", "period": "1D"}, "2024-06-30", "2024-07-01"),
        ({"date_end": "2024-07-01"}, "2024-06-01", "2024-07-01"),
        ({"start": "2024-06-28T02:00:00Z"}, "2024-06-27", "2024-07-03"),  # the evening before in New York
    ],
)
def test_the_days_that_are_asked_for(query: dict[str, str], first: str, last: str) -> None:
    assert read_days(query, TODAY) == DayRange(date.fromisoformat(first), date.fromisoformat(last))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"start": "2024-06-28", "end": "2024-07-01", "period": "1D"}, "only two of start, end and period"),
        ({"start": "soon"}, "invalid start, end or period"),
        ({"end": "2024-06-31"}, "invalid start, end or period"),
        ({"period": "1Y"}, "invalid start, end or period"),
    ],
)
def test_days_that_are_refused(query: dict[str, str], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        read_days(query, TODAY)
    assert caught.value.status == 422


def with_equity(**equity: str) -> tuple[Exchange, Account]:
    """An account on Wednesday at noon with equities at the closes of some days in July."""
    exchange, account = exchange_with()
    exchange.state.move_to(datetime(2024, 7, 3, 16, tzinfo=UTC))
    account.equity = {date(2024, 7, int(day[1:])): Decimal(value) for day, value in equity.items()}
    return exchange, account


def test_a_history_ends_with_the_present() -> None:
    exchange, account = with_equity(d2="100500", d1="100200")
    account.cash = Decimal(100_700)
    view = history_view(exchange.state, account, {"period": "1W"})
    assert view["timestamp"] == [int(midnight(date(2024, 7, day)).timestamp()) for day in (1, 2, 3)]
    assert view["equity"] == [100_200, 100_500, 100_700]
    assert (view["base_value"], "base_value_asof" in view) == (100_200, False)
    assert view["profit_loss"] == [0, 300, 500]
    assert view["profit_loss_pct"] == pytest.approx([0, 300 / 100_200, 500 / 100_200], abs=1e-8)


def test_profits_count_from_the_close_before_the_first_point() -> None:
    exchange, account = with_equity(d1="100200", d2="100500")
    view = history_view(exchange.state, account, {"start": "2024-07-02", "end": "2024-07-02"})
    assert (view["base_value"], view["base_value_asof"]) == (100_200, "2024-07-01")
    assert (view["equity"], view["profit_loss"]) == ([100_500], [300])


def test_a_history_without_points_begins_with_the_first_cash() -> None:
    exchange, account = with_equity()
    view = history_view(exchange.state, account, {"start": "2024-07-01", "end": "2024-07-02"})
    assert (view["equity"], view["base_value"], view["timestamp"]) == ([], 100_000, [])


def test_a_day_that_has_closed_is_not_counted_again() -> None:
    exchange, account = with_equity(d3="100900")
    account.cash = Decimal(5)
    assert history_view(exchange.state, account, {"period": "1D"})["equity"] == [100_900]


def test_a_holiday_has_no_point() -> None:
    exchange, account = with_equity(d3="100900")
    exchange.state.move_to(datetime(2024, 7, 4, 16, tzinfo=UTC))
    assert len(history_view(exchange.state, account, {"period": "1W"})["equity"]) == 1


def test_an_account_that_had_nothing_has_no_percentages() -> None:
    exchange, account = with_equity(d1="0", d2="50")
    assert history_view(exchange.state, account, {"end": "2024-07-02"})["profit_loss_pct"] == [0.0, 0.0]


def test_there_are_points_by_day_only() -> None:
    exchange, account = with_equity()
    with pytest.raises(RefusedError, match="timeframe must be 1D"):
        history_view(exchange.state, account, {"timeframe": "1H"})
    assert history_view(exchange.state, account, {"timeframe": "1D"})["timeframe"] == "1D"


def basis(overnight: int, *trades: tuple[int, int], yesterday: int = 100) -> Decimal:
    """The day basis of a position after trades of today, as shares (negative: sold) and prices."""
    exchange, account = exchange_with()
    exchange.state.move_to(datetime(2024, 7, 2, 16, tzinfo=UTC))
    now, qty = exchange.state.now, overnight
    for symbol, at in (("AAA", now - timedelta(days=1)), ("BBB", now)):  # neither counts
        account.activities.append(Activity("x", account.id, at, fill(symbol, 999, 1)))
    for shares, price in trades:
        qty += shares
        account.activities.append(Activity("x", account.id, now, fill("AAA", shares, price)))
    account.activities.append(Activity("x", account.id, now, {"activity_type": "DIV", "symbol": "AAA"}))
    position = Position("AAA", Decimal(qty), Decimal(1))
    return day_basis(exchange.state, account, position, Decimal(yesterday))


def fill(symbol: str, shares: int, price: int) -> dict[str, Any]:
    side = "buy" if shares > 0 else "sell"
    return {"activity_type": "FILL", "symbol": symbol, "side": side, "qty": str(abs(shares)), "price": str(price)}


@pytest.mark.parametrize(
    ("overnight", "trades", "expected"),
    [
        (10, [], 1000),
        (0, [(10, 120)], 1200),
        (10, [(5, 120)], 1600),
        (10, [(-4, 150)], 600),
        (10, [(5, 120), (-4, 150)], 1200),  # overnight shares are sold first
        (10, [(5, 120), (-12, 150)], 360),
        (0, [(4, 100), (4, 120), (-4, 130)], 440),  # the average cost
        (10, [(-15, 90)], -450),  # long overnight, short now
        (-10, [(4, 90)], -600),
        (-10, [(15, 90)], 450),
        (0, [(-10, 50), (4, 40)], -300),
        (0, [(10, 50), (-15, 60)], -300),  # turned over within the day
    ],
)
def test_the_basis_of_a_days_profit(overnight: int, trades: list[tuple[int, int]], expected: int) -> None:
    assert basis(overnight, *trades) == expected


@given(
    st.integers(-20, 20),
    st.lists(st.tuples(st.integers(-15, 15).filter(bool), st.just(100)), max_size=6),
)
def test_at_one_price_the_basis_is_the_position_at_that_price(overnight: int, trades: list[tuple[int, int]]) -> None:
    shares = overnight + sum(shares for shares, _ in trades)
    assert basis(overnight, *trades) == pytest.approx(shares * 100)


def test_the_basis_of_real_fills() -> None:
    exchange, account = exchange_with()
    send(exchange, account, qty=10)
    until(exchange, "2024-07-02T14:00:00")
    send(exchange, account, qty=5)
    exchange.catch_up()
    position = account.positions["AAA"]
    bought = account.activities[-1].body
    expected = 10 * 105 + 5 * Decimal(bought["price"])
    assert day_basis(exchange.state, account, position, Decimal(105)) == expected
