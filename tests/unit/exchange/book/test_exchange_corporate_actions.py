"""Corporate actions: which are accepted, and what each does to positions, orders and cash."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from mlops_cli.exchange.api.action_requests import action_view, read_action
from mlops_cli.exchange.book.corporate_actions import announce, apply
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import Account, AssetFlags, CorporateAction, Position, RefusedError
from tests.fakes.small_exchange import exchange_with, new_order, send, table, until

DAY = date(2024, 7, 1)
SPLIT = {"type": "split", "symbol": "AAA", "date": "2024-07-01", "ratio": 4}


@pytest.mark.parametrize(
    ("body", "action"),
    [
        (SPLIT, CorporateAction("split", "AAA", DAY, Decimal(4))),
        ({**SPLIT, "ratio": "0.125"}, CorporateAction("split", "AAA", DAY, Decimal("0.125"))),
        (
            {"type": "dividend", "symbol": "AAA", "date": "2024-07-01", "amount": "0.24"},
            CorporateAction("dividend", "AAA", DAY, Decimal("0.24")),
        ),
        ({"type": "delisting", "symbol": "AAA", "date": "2024-07-01"}, CorporateAction("delisting", "AAA", DAY)),
        (
            {"type": "delisting", "symbol": "AAA", "date": "2024-07-01", "price": 7, "close_positions": False},
            CorporateAction("delisting", "AAA", DAY, Decimal(7), closes_positions=False),
        ),
        ({**SPLIT, "cash_in_lieu": False}, CorporateAction("split", "AAA", DAY, Decimal(4), cash_in_lieu=False)),
        (
            {"type": "rename", "symbol": "AAA", "date": "2024-07-01", "new_symbol": "META"},
            CorporateAction("rename", "AAA", DAY, new_symbol="META"),
        ),
        (
            {**SPLIT, "type": "spin_off", "ratio": "0.2", "new_symbol": "A.WI", "price": "9.5"},
            CorporateAction("spin_off", "AAA", DAY, Decimal("0.2"), new_symbol="A.WI", price=Decimal("9.5")),
        ),
    ],
)
def test_what_can_be_announced(body: dict[str, Any], action: CorporateAction) -> None:
    assert read_action(body) == action
    assert read_action(action_view(action)) == action


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "merger"}, "type must be one of split, dividend, delisting, rename, spin_off"),
        ({"type": ["split"]}, "type must be one of"),
        ({"symbol": None}, "symbol a text"),
        ({"ratio": None}, "ratio is required"),
        ({"ratio": "0.0001"}, "ratio must be from 0.001 to 1000"),
        ({"ratio": 1001}, "ratio must be from 0.001 to 1000"),
        ({"ratio": -2}, "ratio must be > 0"),
        ({"ratio": "x"}, "invalid ratio: 'x'"),
        ({"type": "dividend"}, "amount is required"),
        ({"type": "delisting", "price": "0.00001"}, "price must be from 0.0001"),
        ({"date": "2024-06-31"}, "date must be a day"),
        ({"date": None}, "date must be a day"),
        ({"type": "rename"}, "new_symbol must be another symbol"),
        ({"type": "rename", "new_symbol": "AAA"}, "new_symbol must be another symbol"),
        ({"type": "rename", "new_symbol": "new"}, "new_symbol must be another symbol"),
        ({"type": "rename", "new_symbol": ["NEW"]}, "new_symbol must be another symbol"),
        ({"type": "rename", "new_symbol": "A" * 7}, "new_symbol must be another symbol"),
        ({"type": "spin_off", "ratio": None}, "ratio is required"),
        ({"type": "spin_off"}, "new_symbol must be another symbol"),
        ({"type": "spin_off", "new_symbol": "NEW", "price": 0}, "price must be > 0"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        read_action({**SPLIT, **changes})
    assert caught.value.status == 422


def holder(qty: str) -> tuple[Exchange, Account]:
    exchange, account = exchange_with()
    account.positions["AAA"] = Position("AAA", Decimal(qty), Decimal(90))
    return exchange, account


def act(exchange: Exchange, kind: str, value: str | None = None, **more: Any) -> None:
    (session,) = exchange.state.hours.between(DAY, DAY)
    action = CorporateAction(kind, "AAA", DAY, None if value is None else Decimal(value), **more)
    apply(exchange.state, action, session)


@pytest.mark.parametrize(
    ("held", "ratio", "qty", "cash"),
    [
        ("7", "3", "21", "0"),
        ("15", "1.5", "22", "33.33"),  # half a share at 100 / 1.5
        ("7", "0.5", "3", "100.00"),  # half a share at 200
        ("7", "0.1", None, "700.00"),
        ("-7", "0.1", None, "-700.00"),
        ("-15", "1.5", "-22", "-33.33"),
        ("-20", "0.1", "-2", "0"),
        ("0.5", "1.5", "0.75", "0"),  # who has fractions keeps them
        ("1.000000001", "0.1", "0.1", "0"),
    ],
)
def test_a_split_leaves_whole_shares_and_pays_the_rest(held: str, ratio: str, qty: str | None, cash: str) -> None:
    exchange, account = holder(held)
    act(exchange, "split", ratio)
    left = account.positions.get("AAA")
    assert left == (None if qty is None else Position("AAA", Decimal(qty), Decimal(90) / Decimal(ratio)))
    assert account.cash == 100_000 + Decimal(cash)
    (activity,) = account.activities
    assert activity.body["activity_type"] == "SPLIT"
    assert activity.body["activity_sub_type"] == ("FSPLIT" if Decimal(ratio) > 1 else "RSPLIT")
    assert Decimal(activity.body["net_amount"]) == Decimal(cash)
    assert activity.body["qty"] == (qty or "0")
    assert activity.body["description"].startswith("cash in lieu of") is (Decimal(cash) != 0)


def test_fractions_of_long_positions_may_stay_if_they_are_announced_so() -> None:
    for held, qty, cash in (("15", "22.5", "0"), ("-15", "-22", "-33.33")):
        exchange, account = holder(held)
        act(exchange, "split", "1.5", cash_in_lieu=False)
        assert (account.positions["AAA"].qty, account.cash) == (Decimal(qty), 100_000 + Decimal(cash))


def test_an_asset_without_fractions_is_always_paid_out() -> None:
    exchange, account = holder("0.5")
    exchange.state.assets["AAA"] = AssetFlags(fractionable=False)
    act(exchange, "split", "3", cash_in_lieu=False)
    assert (account.positions["AAA"].qty, account.cash) == (1, Decimal("100016.67"))


@pytest.mark.parametrize(
    ("limit", "ratio", "expected"), [("100", "3", "33.33"), ("2", "3", "0.6667"), ("0.0002", "10", "0.0001")]
)
def test_a_split_rounds_the_prices_of_orders_as_the_market_does(limit: str, ratio: str, expected: str) -> None:
    exchange, account = holder("7")
    order = new_order(type="stop_limit", limit_price=Decimal(limit), stop_price=Decimal(limit))
    account.add(order)
    act(exchange, "split", ratio)
    assert (order.limit_price, order.stop_price) == (Decimal(expected), Decimal(expected))
    assert (order.qty, order.filled_qty) == (10 * Decimal(ratio), 0)


@pytest.mark.parametrize(
    ("qty", "filled", "ratio", "new_qty"),
    [("5", "0", "1.5", "7"), ("10", "3", "1.5", "13"), ("1", "0", "1.5", "1"), ("0.5", "0", "1.5", "0.75"),
     ("10", "0", "4", "40")],
)  # fmt: skip
def test_a_split_leaves_orders_of_whole_shares(qty: str, filled: str, ratio: str, new_qty: str) -> None:
    """What was filled before stays as the fills were told."""
    exchange, account = holder("7")
    order = new_order(qty=Decimal(qty), filled_qty=Decimal(filled), time_in_force="gtc")
    account.add(order)
    act(exchange, "split", ratio)
    assert (order.qty, order.filled_qty, order.status) == (Decimal(new_qty), Decimal(filled), "new")


def test_a_reverse_split_cancels_orders() -> None:
    exchange, account = holder("7")
    orders = [new_order(id="a", reserve=Decimal(9)), new_order(id="b", qty=None, notional=Decimal(5), side="sell")]
    for order in orders:
        account.add(order)
    act(exchange, "split", "0.5")
    assert [order.status for order in orders] == ["canceled"] * 2
    assert (account.open_orders, account.reserved) == ({}, 0)


def test_a_split_leaves_notional_orders_and_other_symbols() -> None:
    exchange, account = holder("7")
    notional = new_order(id="notional", qty=None, notional=Decimal(100))
    other = new_order(id="other", symbol="BBB")
    account.add(notional)
    account.add(other)
    act(exchange, "split", "2")
    assert (notional.qty, notional.notional, other.qty) == (None, 100, 10)
    assert exchange.state.market.split_factor("AAA", DAY) == 2


def test_a_reverse_split_may_leave_nothing() -> None:
    exchange, account = holder("0.000000002")
    order = new_order(side="sell", qty=Decimal("0.000000002"), position_intent="sell_to_close")
    account.add(order)
    act(exchange, "split", "0.1")
    assert account.positions == {}
    assert (order.status, account.open_orders) == ("canceled", {})


@pytest.mark.parametrize("held", ["10", "-10", "0.5"])
def test_a_renamed_company_has_its_shares_and_prices_under_the_new_symbol(held: str) -> None:
    exchange, account = holder(held)
    state = exchange.state
    order = new_order(limit_price=Decimal(50), reserve=Decimal(500))
    account.add(order)
    state.assets["AAA"] = AssetFlags(shortable=False)
    later = CorporateAction("split", "AAA", date(2024, 7, 2), Decimal(3))
    state.actions.append(later)
    before = state.market.close_before("AAA", DAY)
    act(exchange, "rename", new_symbol="NEW")
    assert account.positions == {"NEW": Position("NEW", Decimal(held), Decimal(90))}
    assert (account.cash, order.status, account.reserved) == (100_000, "canceled", 0)
    assert [(a.body["activity_type"], a.body["symbol"], a.body["qty"]) for a in account.activities] == [
        ("NC", "AAA", held[1:] if held[0] == "-" else f"-{held}"),
        ("NC", "NEW", held),
    ]
    assert state.market.close_before("NEW", DAY) == before == 100
    assert (state.market.has("NEW"), state.market.delisted) == (True, {"AAA": DAY})
    assert state.actions == [replace(later, symbol="NEW")]
    assert state.assets == {"NEW": AssetFlags(shortable=False)}


def test_a_company_may_be_renamed_after_a_split_and_again() -> None:
    exchange, account = holder("10")
    for kind, value, symbol, new_symbol in (
        ("split", "2", "AAA", None), ("rename", None, "AAA", "BBB"), ("split", "2", "BBB", None),
        ("rename", None, "BBB", "CCC"),
    ):  # fmt: skip
        (session,) = exchange.state.hours.between(DAY, DAY)
        value_ = None if value is None else Decimal(value)
        apply(exchange.state, CorporateAction(kind, symbol, DAY, value_, new_symbol=new_symbol), session)
    assert account.positions == {"CCC": Position("CCC", Decimal(40), Decimal("22.5"))}
    (session,) = exchange.state.hours.between(DAY, DAY)
    path = exchange.state.market.path("CCC", session)
    assert path is not None
    assert path.points[0] == 102 / 4


def test_a_spin_off_gives_whole_shares_cash_and_a_part_of_the_cost() -> None:
    """The opening of AAA is 102; two parts of 10 USD for ten shares are 2 of it."""
    exchange, account = holder("12")
    act(exchange, "spin_off", "0.2", new_symbol="NEW", price=Decimal("10"))
    market = exchange.state.market
    (session,) = exchange.state.hours.between(DAY, DAY)
    old, new = market.path("AAA", session), market.path("NEW", session)
    assert old is not None
    assert new is not None
    assert (round(old.points[0], 9), round(new.points[0], 9)) == (100, 10)
    assert round(new.points[1] / new.points[0], 9) == round(old.points[1] / old.points[0], 9)
    assert account.positions["AAA"].qty == 12
    assert account.positions["NEW"].qty == 2
    assert account.cash == 100_004  # 0.4 shares
    cost = account.positions["AAA"].average_price + account.positions["NEW"].average_price / 5
    assert cost == pytest.approx(Decimal(90))
    assert account.positions["NEW"].average_price == pytest.approx(Decimal(90) * 2 / 102 * 5)
    (activity,) = account.activities
    assert (activity.body["activity_type"], activity.body["symbol"], activity.body["qty"]) == ("SPIN", "NEW", "2")
    assert (activity.body["net_amount"], activity.body["description"]) == ("4", "cash in lieu of 0.4 shares at 10")
    friday = market.path("NEW", exchange.state.hours.before(DAY))
    assert friday is None, "it was not traded before"


def test_a_short_seller_owes_the_new_shares() -> None:
    exchange, account = holder("-12")
    act(exchange, "spin_off", "0.2", new_symbol="NEW", price=Decimal("10"))
    assert (account.positions["NEW"].qty, account.cash) == (-2, 99_996)


def test_a_spin_off_of_less_than_a_share_is_cash() -> None:
    exchange, account = holder("2")
    act(exchange, "spin_off", "0.2", new_symbol="NEW", price=Decimal("10"))
    assert (list(account.positions), account.cash) == (["AAA"], 100_004)


def test_a_company_with_prices_of_its_own_is_given_at_them() -> None:
    exchange, account = exchange_with(AAA=table(), BBB=table())
    account.positions["AAA"] = Position("AAA", Decimal(10), Decimal(90))
    account.positions["BBB"] = Position("BBB", Decimal(1), Decimal(30))
    act(exchange, "spin_off", "0.5", new_symbol="BBB")
    assert account.positions["BBB"].qty == 6
    assert exchange.state.market.cuts == exchange.state.market.listings == {}
    assert account.positions["AAA"].average_price == 60  # half as much of 102 is a third of 153


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"type": "split", "symbol": "NOPE", "ratio": 2}, 404, "asset not found"),
        ({"type": "rename", "symbol": "AAA", "new_symbol": "BBB"}, 422, "BBB is another asset"),
        ({"type": "rename", "symbol": "AAA", "new_symbol": "SOON"}, 422, "SOON is announced already"),
        ({"type": "spin_off", "symbol": "AAA", "new_symbol": "NEW", "ratio": 1}, 422, "price is required: NEW has no"),
        ({"type": "spin_off", "symbol": "AAA", "new_symbol": "BBB", "ratio": 1, "price": 1}, 422, "prices of its own"),
        (
            {"type": "spin_off", "symbol": "AAA", "new_symbol": "NEW", "ratio": 4, "price": 25},
            422,
            "than its own price",
        ),
    ],
)
def test_what_cannot_be_announced_here(body: dict[str, Any], status: int, words: str) -> None:
    exchange, _ = exchange_with(AAA=table(), BBB=table())
    announce(
        exchange.state, read_action({"type": "rename", "symbol": "BBB", "new_symbol": "SOON", "date": "2024-07-09"})
    )
    with pytest.raises(RefusedError, match=words) as caught:
        announce(exchange.state, read_action({"date": "2024-07-01", **body}))
    assert caught.value.status == status
    assert len(exchange.state.actions) == 1


def test_actions_of_one_day_follow_each_other() -> None:
    exchange, account = holder("10")
    for body in (
        {"type": "rename", "symbol": "AAA", "new_symbol": "NEW"},
        {"type": "dividend", "symbol": "AAA", "amount": 1},
        {"type": "split", "symbol": "AAA", "ratio": 2},
    ):
        announce(exchange.state, read_action({"date": "2024-07-01", **body}))
    until(exchange, "2024-07-01T14:00:00")
    assert [activity.body["activity_type"] for activity in account.activities] == ["NC", "NC", "DIV", "SPLIT"]
    assert (account.positions["NEW"].qty, account.cash) == (20, 100_010)
    with pytest.raises(RefusedError, match='asset "AAA" is not active'):
        send(exchange, account)
    send(exchange, account, symbol="NEW")
    exchange.catch_up()
    assert account.positions["NEW"].qty == 30


@pytest.mark.parametrize(("qty", "cash"), [("10", "100001.23"), ("-10", "99998.77"), ("0.5", "100000.06")])
def test_a_dividend_is_paid_in_cents(qty: str, cash: str) -> None:
    exchange, account = holder(qty)
    act(exchange, "dividend", "0.1234")
    assert account.cash == Decimal(cash)
    assert exchange.state.unwritten[account.id] is account


def test_accounts_without_the_symbol_get_nothing() -> None:
    exchange, _ = holder("10")
    other = exchange.account("other", "secret")
    act(exchange, "dividend", "1")
    act(exchange, "split", "2")
    act(exchange, "delisting")
    assert (other.cash, other.activities) == (100_000, [])


def test_a_delisting_pays_the_last_close_and_cancels_orders() -> None:
    exchange, account = holder("10")
    order = new_order(limit_price=Decimal(50), reserve=Decimal(500))
    account.add(order)
    act(exchange, "delisting")
    assert (account.cash, account.positions) == (101_000, {})  # Friday's close was 100
    assert (order.status, order.canceled_at, account.reserved) == ("canceled", exchange.state.now, 0)
    assert account.activities[-1].body["activity_type"] == "REORG"
    assert exchange.state.market.delisted == {"AAA": DAY}


def test_a_short_seller_pays_at_a_delisting() -> None:
    exchange, account = holder("-10")
    act(exchange, "delisting", "7")
    assert account.cash == 100_000 - 70


def test_positions_may_stay_after_a_delisting() -> None:
    exchange, account = holder("10")
    act(exchange, "delisting", "7", closes_positions=False)
    assert (account.cash, account.positions["AAA"].qty) == (100_000, 10)
