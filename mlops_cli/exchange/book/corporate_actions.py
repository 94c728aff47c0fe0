"""Corporate actions: splits, dividends and delistings, before the opening of their day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from mlops_cli.exchange.book.activities import booking
from mlops_cli.exchange.book.matching import to_price
from mlops_cli.exchange.book.order_requests import number
from mlops_cli.exchange.book.records import SHARE, TICK, ZERO, Account, CorporateAction, Order, refused
from mlops_cli.exchange.book.state import State

CENT = Decimal("0.01")
LEAST = {"split": Decimal("0.001"), "dividend": Decimal("0.000001"), "delisting": Decimal("0.0001")}
MOST = {"split": Decimal(1000), "dividend": Decimal(1_000_000), "delisting": Decimal(1_000_000)}


def read_action(body: Mapping[str, Any]) -> CorporateAction:
    """Check the body of `POST /sim/corporate-actions`.

    Raises:
        RefusedError: it is none.
    """
    kind, symbol = body.get("type"), body.get("symbol")
    names = {"split": "ratio", "dividend": "amount", "delisting": "price"}
    if not isinstance(kind, str) or kind not in names or not isinstance(symbol, str):
        raise refused(f"type must be one of {', '.join(names)}, symbol a text")
    value = number(body, names[kind])
    if value is not None and not LEAST[kind] <= value <= MOST[kind]:
        raise refused(f"{names[kind]} must be from {LEAST[kind]} to {MOST[kind]}")
    if value is None and kind != "delisting":
        raise refused(f"{names[kind]} is required")
    try:
        day = date.fromisoformat(str(body.get("date")))
    except ValueError:
        raise refused("date must be a day such as 2024-06-10") from None
    return CorporateAction(kind, symbol, day, value, body.get("close_positions", True) is True)


def apply(state: State, action: CorporateAction, day: date) -> None:
    """Carry an action out, before the opening of a day."""
    match action.kind:
        case "split":
            assert action.value is not None
            state.market.split(action.symbol, day, float(action.value))
            for account in state.accounts.values():
                _split(state, account, action.symbol, action.value)
        case "dividend":
            assert action.value is not None
            for account in state.accounts.values():
                _pay(state, account, action.symbol, action.value, "DIV")
        case _:
            last = state.market.close_before(action.symbol, day)
            price = action.value if action.value is not None else to_price(last or 0.0)
            state.market.delisted[action.symbol] = day
            for account in state.accounts.values():
                _delist(state, account, action, price)


def _split(state: State, account: Account, symbol: str, ratio: Decimal) -> None:
    for order in [o for o in account.open_in(symbol) if o.qty is not None]:
        _split_order(order, ratio)
        state.changed(order)
        if order.qty == order.filled_qty:  # less than the smallest part of a share is left
            state.end(account, order, "canceled", state.settled)
    held = account.positions.get(symbol)
    if held is None:
        return
    held.qty = (held.qty * ratio).quantize(SHARE)
    held.average_price /= ratio
    state.record(account, booking(account, "SPLIT", state.settled, ZERO, held))
    if not held.qty:
        del account.positions[symbol]


def _split_order(order: Order, ratio: Decimal) -> None:
    assert order.qty is not None
    order.qty = (order.qty * ratio).quantize(SHARE)
    order.filled_qty = (order.filled_qty * ratio).quantize(SHARE)
    for name in ("limit_price", "stop_price"):
        price: Decimal | None = getattr(order, name)
        if price is not None:
            setattr(order, name, max(TICK, (price / ratio).quantize(CENT if price / ratio >= 1 else TICK)))


def _pay(state: State, account: Account, symbol: str, price: Decimal, kind: str) -> None:
    held = account.positions.get(symbol)
    if held is not None:
        amount = (held.qty * price).quantize(CENT)
        account.cash += amount
        state.record(account, booking(account, kind, state.settled, amount, held))


def _delist(state: State, account: Account, action: CorporateAction, price: Decimal) -> None:
    for order in account.open_in(action.symbol):
        state.end(account, order, "canceled", state.settled)
    if action.closes_positions:
        _pay(state, account, action.symbol, price, "REORG")
        account.positions.pop(action.symbol, None)
        state.changed(account)
