"""What corporate actions do to positions, orders and cash. They happen before the opening of their day.

A company gives no fractions of shares: where whole shares become a number with a fraction, the fraction is paid out
(cash in lieu), and an open order keeps whole shares. Open orders are adjusted or canceled as FINRA rule 5330 has it: a
split changes price and size of an order, a reverse split cancels it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import date
from decimal import Decimal

from mlops_cli.exchange.book.accounting import add_shares
from mlops_cli.exchange.book.activities import booking, plain
from mlops_cli.exchange.book.matching import to_price
from mlops_cli.exchange.book.records import (
    SHARE,
    TICK,
    ZERO,
    Account,
    CorporateAction,
    Order,
    Position,
    is_whole,
    not_found,
    refused,
    unprocessable,
)
from mlops_cli.exchange.book.state import State
from mlops_cli.market.hours import Session

CENT = Decimal("0.01")
MOST_ACTIONS = 1000
PER_SHARE_DECIMALS = 6


def announce(state: State, action: CorporateAction) -> None:
    """Add an action to those that are still to come.

    Raises:
        RefusedError: it concerns an unknown symbol, the new symbol is another company's, or a price is missing.
    """
    if not state.market.has(action.symbol):
        raise not_found(f"asset not found for {action.symbol[:40]}")
    if len(state.actions) >= MOST_ACTIONS:
        raise unprocessable(f"no more than {MOST_ACTIONS} corporate actions can be announced at once")
    if action.new_symbol is not None:
        _check_new_symbol(state, action, action.new_symbol)
    state.actions.append(action)


def _check_new_symbol(state: State, action: CorporateAction, new_symbol: str) -> None:
    if new_symbol in {other.new_symbol for other in state.actions}:
        raise unprocessable(f"{new_symbol} is announced already")
    if action.kind == "rename":
        if state.market.has(new_symbol):
            raise unprocessable(f"{new_symbol} is another asset")
        return
    if state.market.has(new_symbol) and action.price is not None:
        raise unprocessable(f"{new_symbol} has prices of its own: leave price out")
    if not state.market.has(new_symbol):
        _check_price(state, action)


def _check_price(state: State, action: CorporateAction) -> None:
    assert action.value is not None
    if action.price is None:
        raise refused(f"price is required: {action.new_symbol} has no price table")
    if action.value * action.price >= state.price(action.symbol):
        raise unprocessable("a company cannot give away more than its own price")


def apply(state: State, action: CorporateAction, session: Session) -> None:
    """Carry out an action before the opening of a session."""
    match action.kind:
        case "split":
            _split(state, action, session.day)
        case "dividend":
            assert action.value is not None
            for account in state.accounts.values():
                _pay(state, account, action.symbol, action.value, "DIV")
        case "rename":
            _rename(state, action, session.day)
        case "spin_off":
            _spin_off(state, action, session)
        case _:
            last = state.market.close_before(action.symbol, session.day)
            price = action.value if action.value is not None else to_price(last or 0.0)
            state.market.delisted[action.symbol] = session.day
            for account in state.accounts.values():
                _delist(state, account, action, price)


# splits


def _split(state: State, action: CorporateAction, day: date) -> None:
    assert action.value is not None
    state.market.split(action.symbol, day, float(action.value))
    last = state.market.close_before(action.symbol, day)
    for account in state.accounts.values():
        for order in account.open_orders_in(action.symbol):
            _split_order(state, account, order, action.value)
        position = account.positions.get(action.symbol)
        if position is not None:
            _split_position(state, account, position, action, to_price(last or 0.0))


def _split_order(state: State, account: Account, order: Order, ratio: Decimal) -> None:
    """Adjust an order to a split. What it has filled before stays as it was traded."""
    if ratio < 1:
        state.end_order(account, order, "canceled", state.now)
        return
    if order.qty is None:
        return
    left = order.qty - order.filled_qty
    order.qty = order.filled_qty + _whole_if(is_whole(order.qty), left * ratio)
    order.limit_price = _split_price(order.limit_price, ratio)
    order.stop_price = _split_price(order.stop_price, ratio)
    state.changed(order)


def _split_price(price: Decimal | None, ratio: Decimal) -> Decimal | None:
    if price is None:
        return None
    new = price / ratio
    return max(TICK, new.quantize(CENT if new >= 1 else TICK))


def _split_position(
    state: State, account: Account, position: Position, action: CorporateAction, price: Decimal
) -> None:
    """Change the shares of a position; `price` in USD is that of a fraction that is paid out."""
    assert action.value is not None
    exact = position.qty * action.value
    position.qty = _whole_if(_pays_fractions(state, position, action), exact)
    position.average_price /= action.value
    cash = ((exact - position.qty) * price).quantize(CENT)
    account.cash += cash
    kind = "SPLIT/FSPLIT" if action.value > 1 else "SPLIT/RSPLIT"
    words = _in_lieu(exact - position.qty, price)
    state.add_activity(account, booking(account, kind, state.now, cash, position, words))
    if not position.qty:
        del account.positions[position.symbol]


def _pays_fractions(state: State, position: Position, action: CorporateAction) -> bool:
    """Whether a position keeps whole shares: short ones always do, long ones unless the client holds fractions."""
    if position.qty < 0 or not state.asset(position.symbol).fractionable:
        return True
    return action.cash_in_lieu and is_whole(position.qty)


def _whole_if(whole: bool, shares: Decimal) -> Decimal:
    return shares.quantize(Decimal(1) if whole else SHARE, "ROUND_DOWN") + ZERO  # not -0


def _in_lieu(shares: Decimal, price: Decimal) -> str:
    return f"cash in lieu of {plain(abs(shares))} shares at {plain(price)}" if abs(shares) >= SHARE else ""


# new names and new companies


def _rename(state: State, action: CorporateAction, day: date) -> None:
    """The shares get another symbol. Open orders are canceled: they name a symbol that is no longer traded."""
    old, new = action.symbol, action.new_symbol
    assert new is not None
    state.market.rename(old, new, day)
    state.actions = [replace(other, symbol=new) if other.symbol == old else other for other in state.actions]
    if old in state.assets:
        state.assets[new] = state.assets.pop(old)
    for account in state.accounts.values():
        for order in account.open_orders_in(old):
            state.end_order(account, order, "canceled", state.now)
        position = account.positions.pop(old, None)
        if position is not None:
            account.positions[new] = replace(position, symbol=new)
            gone = replace(position, qty=-position.qty)
            for moved in (gone, account.positions[new]):
                state.add_activity(account, booking(account, "NC/SNC", state.now, ZERO, moved, f"{old} is {new} now"))


def _spin_off(state: State, action: CorporateAction, session: Session) -> None:
    """Holders get shares of a new company, with a part of what they paid for the old one."""
    new = action.new_symbol
    assert new is not None
    assert action.value is not None
    if action.price is not None:
        state.market.spin_off(action.symbol, new, session, float(action.value), float(action.price))
    given = to_price(_opening(state, new, session))
    value = given * action.value
    part = value / (value + to_price(_opening(state, action.symbol, session)))
    for account in state.accounts.values():
        position = account.positions.get(action.symbol)
        if position is not None:
            _give(state, account, position, action, given, part)


def _opening(state: State, symbol: str, session: Session) -> float:
    path = state.market.path(symbol, session) if state.market.has(symbol) else None
    return 0.0 if path is None else path.points[0]


def _give(
    state: State, account: Account, position: Position, action: CorporateAction, price: Decimal, part: Decimal
) -> None:
    """Give the holder of a position shares of the new company, whose price is in USD; `part` of the cost goes along."""
    assert action.value is not None
    assert action.new_symbol is not None
    exact = position.qty * action.value
    shares = _whole_if(_pays_fractions(state, position, action), exact)
    cost = position.average_price * part / action.value
    position.average_price *= 1 - part
    cash = ((exact - shares) * price).quantize(CENT)
    account.cash += cash
    if shares:
        add_shares(account, action.new_symbol, shares, cost)
    came = Position(action.new_symbol, shares, cost)
    words = _in_lieu(exact - shares, price)
    state.add_activity(account, booking(account, "SPIN", state.now, cash, came, words))


# cash


def _pay(state: State, account: Account, symbol: str, per_share: Decimal, kind: str) -> None:
    """Pay the holder of a long position; the holder of a short position pays."""
    position = account.positions.get(symbol)
    if position is not None:
        amount = (position.qty * per_share).quantize(CENT)
        account.cash += amount
        state.add_activity(account, booking(account, kind, state.now, amount, position))


def pay_listed_dividends(state: State, day: date, besides: Collection[str]) -> None:
    """Pay the dividends that the price tables list with this ex-date, except for the symbols `besides`."""
    for account in state.accounts.values():
        for symbol in sorted(account.positions.keys() - set(besides)):
            per_share = state.market.dividend(symbol, day)
            if per_share > 0:
                _pay(state, account, symbol, Decimal(str(round(per_share, PER_SHARE_DECIMALS))), "DIV")


def _delist(state: State, account: Account, action: CorporateAction, price: Decimal) -> None:
    for order in account.open_orders_in(action.symbol):
        state.end_order(account, order, "canceled", state.now)
    if action.closes_positions:
        _pay(state, account, action.symbol, price, "REORG")
        account.positions.pop(action.symbol, None)
        state.changed(account)
