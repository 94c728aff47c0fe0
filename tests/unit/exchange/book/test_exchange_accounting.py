"""What fills do to an account, what it is worth, and what it may still buy."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.exchange.book.accounting import Worth, available, book_fill, check_shares, cost, worth
from mlops_cli.exchange.book.records import Account, Position, RefusedError
from tests.fakes.small_exchange import new_account, new_order


def holding(qty: str, price: str = "100", **changes: object) -> Account:
    return new_account(positions={"AAA": Position("AAA", Decimal(qty), Decimal(price))}, **changes)


def trade(account: Account, shares: int, price: str) -> None:
    """Buy shares, or sell what is negative."""
    order = new_order(side="buy" if shares > 0 else "sell", qty=Decimal(abs(shares)))
    book_fill(account, order, Decimal(abs(shares)), Decimal(price))


def test_a_purchase_opens_a_position() -> None:
    account = new_account()
    trade(account, 10, "100.5")
    assert account.cash == Decimal("98995")
    assert account.positions == {"AAA": Position("AAA", Decimal(10), Decimal("100.5"))}


@pytest.mark.parametrize(
    ("trades", "qty", "average"),
    [
        ([(10, "100"), (30, "120")], 40, "115"),
        ([(10, "100"), (-4, "150")], 6, "100"),  # a sale does not change the average price
        ([(10, "100"), (-15, "150")], -5, "150"),
        ([(-10, "100"), (-10, "90")], -20, "95"),
        ([(-10, "100"), (4, "50")], -6, "100"),
        ([(-10, "100"), (25, "80")], 15, "80"),
    ],
)
def test_the_average_price_of_a_position(trades: list[tuple[int, str]], qty: int, average: str) -> None:
    account = new_account()
    for shares, price in trades:
        trade(account, shares, price)
    assert (account.positions["AAA"].qty, account.positions["AAA"].average_price) == (qty, Decimal(average))


@pytest.mark.parametrize("shares", [7, -7])
def test_a_closed_position_is_removed(shares: int) -> None:
    account = new_account()
    trade(account, shares, "100")
    trade(account, -shares, "110")
    assert account.positions == {}
    assert account.cash == 100_000 + 10 * shares


def test_a_fill_frees_its_part_of_the_reserve() -> None:
    account, order = new_account(), new_order(qty=Decimal(8), limit_price=Decimal(50), reserve=Decimal(400))
    account.add(order)
    book_fill(account, order, Decimal(2), Decimal(49))
    assert (order.reserve, account.reserved) == (300, 300)
    assert (order.filled_qty, order.filled_cost, order.left(Decimal(49))) == (2, 98, 6)
    book_fill(account, order, Decimal(6), Decimal(50))
    assert (order.reserve, account.reserved) == (0, 0)


def test_a_notional_order_frees_what_it_has_spent() -> None:
    account, order = new_account(), new_order(qty=None, notional=Decimal(500), reserve=Decimal(500))
    account.add(order)
    book_fill(account, order, Decimal(2), Decimal(100))
    assert (order.reserve, account.reserved) == (300, 300)
    assert order.left(Decimal(100)) == 3
    assert order.left(Decimal(7)) == Decimal("42.857142857")  # rounded down


@given(
    st.lists(
        st.tuples(st.integers(-50, 50).filter(bool), st.decimals("0.01", "500", places=2)), min_size=1, max_size=12
    )
)
def test_cash_and_shares_add_up(trades: list[tuple[int, Decimal]]) -> None:
    account = new_account()
    for shares, price in trades:
        trade(account, shares, str(price))
    assert account.cash == 100_000 - sum(shares * price for shares, price in trades)
    position = account.positions.get("AAA")
    assert (position.qty if position else 0) == sum(shares for shares, _ in trades)
    if position is not None:  # the average lies between the prices paid
        prices = [price for _, price in trades]
        assert min(prices) - Decimal("1e-9") <= position.average_price <= max(prices) + Decimal("1e-9")


def test_worth_of_long_and_short_positions() -> None:
    account = new_account(reserved=Decimal(1000))
    account.positions = {
        "AAA": Position("AAA", Decimal(100), Decimal(90)),
        "BBB": Position("BBB", Decimal(-50), Decimal(30)),
    }
    value = worth(account, {"AAA": Decimal(100), "BBB": Decimal(20)}.__getitem__)
    assert (value.long, value.short, value.equity) == (10_000, -1000, 109_000)
    assert value.multiplier == 2
    assert value.initial_margin == 5500
    assert value.buying_power == value.regt_buying_power == 109_000 * 2 - 11_000 - 1000


def test_buying_power_is_never_negative() -> None:
    value = Worth(Decimal(-50_000), Decimal(60_000), Decimal(0), Decimal(0), Decimal(2))
    assert value.equity == 10_000
    assert value.buying_power == 0


def test_a_multiplier_of_four_ends_at_night() -> None:
    value = Worth(Decimal(100_000), Decimal(0), Decimal(0), Decimal(0), Decimal(4))
    assert (value.buying_power, value.regt_buying_power) == (400_000, 200_000)


@pytest.mark.parametrize(("cash", "multiplier"), [("1999.99", 1), ("2000", 2)])
def test_margin_needs_2000_dollars_of_equity(cash: str, multiplier: int) -> None:
    assert worth(new_account(cash=Decimal(cash)), lambda symbol: Decimal(0)).multiplier == multiplier


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "1030"),  # a market order counts at 3% above the ask
        ({"stop_price": "120"}, "1236"),
        ({"stop_price": "80", "side": "sell"}, "1030"),
        ({"limit_price": "90"}, "900"),
        ({"limit_price": "90", "filled_qty": "4"}, "540"),
        ({"limit_price": "90", "side": "sell"}, "1030"),
        ({"limit_price": "150", "side": "sell"}, "1500"),
        ({"qty": None, "notional": "500", "filled_cost": "120"}, "380"),
    ],
)
def test_the_cost_of_an_order(changes: dict[str, str | None], expected: str) -> None:
    values = {name: value if name == "side" or value is None else Decimal(value) for name, value in changes.items()}
    assert cost(new_order(**values), Decimal(100)) == Decimal(expected)


def test_available_shares_are_those_that_no_order_closes() -> None:
    account = holding("10")
    assert available(account, "AAA") == 10
    account.add(new_order(id="1", side="sell", qty=Decimal(3), filled_qty=Decimal(1)))
    account.add(new_order(id="2", side="buy", qty=Decimal(5)))
    assert available(account, "AAA") == 8
    assert available(account, "BBB") == 0
    short = holding("-10")
    short.add(new_order(id="1", side="buy", qty=Decimal(4)))
    assert available(short, "AAA") == -6


def test_no_more_shares_are_closed_than_there_are() -> None:
    account = holding("10")
    account.add(new_order(id="first", side="sell", qty=Decimal(4)))
    order = new_order(side="sell")
    check_shares(account, order, Decimal(6))
    with pytest.raises(RefusedError, match=r"requested: 7, available: 6") as caught:
        check_shares(account, order, Decimal(7))
    body = caught.value.body
    assert (body["existing_qty"], body["held_for_orders"], body["related_orders"]) == ("10", "4", ["first"])
    check_shares(account, new_order(side="buy"), Decimal(1000))  # it enlarges the position
    check_shares(new_account(), order, Decimal(1000))  # it opens a short position
