"""Corporate actions: splits, dividends and delistings. They happen before the opening of their day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from mlops_cli.exchange.book.activities import booking
from mlops_cli.exchange.book.matching import to_price
from mlops_cli.exchange.book.order_requests import number
from mlops_cli.exchange.book.records import SHARE, TICK, ZERO, Account, CorporateAction, Order, refused
from mlops_cli.exchange.book.state import State

CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class _Value:
    """The value that a kind of corporate action takes: its name in requests, and its limits."""

    name: str
    least: Decimal
    most: Decimal


_VALUES = {
    "split": _Value("ratio", Decimal("0.001"), Decimal(1000)),
    "dividend": _Value("amount", Decimal("0.000001"), Decimal(1_000_000)),
    "delisting": _Value("price", Decimal("0.0001"), Decimal(1_000_000)),
}


def read_action(body: Mapping[str, Any]) -> CorporateAction:
    """Read the body of `POST /sim/corporate-actions`; a `RefusedError` names the first mistake in it."""
    kind, symbol = body.get("type"), body.get("symbol")
    if not isinstance(kind, str) or kind not in _VALUES or not isinstance(symbol, str):
        raise refused(f"type must be one of {', '.join(_VALUES)}, symbol a text")
    value = _read_value(body, kind)
    try:
        day = date.fromisoformat(str(body.get("date")))
    except ValueError:
        raise refused("date must be a day such as 2024-06-10") from None
    return CorporateAction(kind, symbol, day, value, body.get("close_positions", True) is True)


def _read_value(body: Mapping[str, Any], kind: str) -> Decimal | None:
    allowed = _VALUES[kind]
    value = number(body, allowed.name)
    if value is None:
        if kind != "delisting":
            raise refused(f"{allowed.name} is required")
        return None
    if not allowed.least <= value <= allowed.most:
        raise refused(f"{allowed.name} must be from {allowed.least} to {allowed.most}")
    return value


def apply(state: State, action: CorporateAction, day: date) -> None:
    """Carry out an action before the opening of a day."""
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
    for order in [order for order in account.open_orders_in(symbol) if order.qty is not None]:
        _split_order(order, ratio)
        state.changed(order)
        if order.qty == order.filled_qty:  # what is left is less than the smallest part of a share
            state.end_order(account, order, "canceled", state.now)
    position = account.positions.get(symbol)
    if position is None:
        return
    position.qty = (position.qty * ratio).quantize(SHARE)
    position.average_price /= ratio
    state.add_activity(account, booking(account, "SPLIT", state.now, ZERO, position))
    if not position.qty:
        del account.positions[symbol]


def _split_order(order: Order, ratio: Decimal) -> None:
    assert order.qty is not None
    order.qty = (order.qty * ratio).quantize(SHARE)
    order.filled_qty = (order.filled_qty * ratio).quantize(SHARE)
    order.limit_price = _split_price(order.limit_price, ratio)
    order.stop_price = _split_price(order.stop_price, ratio)


def _split_price(price: Decimal | None, ratio: Decimal) -> Decimal | None:
    if price is None:
        return None
    new = price / ratio
    return max(TICK, new.quantize(CENT if new >= 1 else TICK))


def _pay(state: State, account: Account, symbol: str, per_share: Decimal, kind: str) -> None:
    """Pay the holder of a long position; the holder of a short position pays."""
    position = account.positions.get(symbol)
    if position is not None:
        amount = (position.qty * per_share).quantize(CENT)
        account.cash += amount
        state.add_activity(account, booking(account, kind, state.now, amount, position))


def _delist(state: State, account: Account, action: CorporateAction, price: Decimal) -> None:
    for order in account.open_orders_in(action.symbol):
        state.end_order(account, order, "canceled", state.now)
    if action.closes_positions:
        _pay(state, account, action.symbol, price, "REORG")
        account.positions.pop(action.symbol, None)
        state.changed(account)
