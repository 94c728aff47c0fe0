"""Answers about accounts, orders, positions and assets, in the shapes of Alpaca's trading API v2."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from mlops_cli.exchange.api.history import day_basis
from mlops_cli.exchange.book.accounting import REG_T, available
from mlops_cli.exchange.book.activities import plain, timestamp
from mlops_cli.exchange.book.matching import to_price
from mlops_cli.exchange.book.records import ZERO, Account, Order, Position
from mlops_cli.exchange.book.state import State
from mlops_cli.market.hours import in_new_york

_LISTED_AT = "NASDAQ"  # price tables do not say where a symbol is listed
_MILLIONTH = Decimal("0.000001")
_MAINTENANCE = Decimal("0.3")
_NOT_OFFERED = {
    "crypto_status": "INACTIVE",
    "options_buying_power": "0",
    "sma": "0",
    "accrued_fees": "0",
    "pending_transfer_in": "0",
    "pending_transfer_out": "0",
    "intraday_adjustments": "0",
    "pending_reg_taf_fees": "0",
    "daytrade_count": 0,
    "pattern_day_trader": False,
    "options_approved_level": 0,
    "options_trading_level": 0,
}
"""Members of `Account` that are the same for every account."""


@cache
def asset_id(symbol: str) -> str:
    """The id of an asset: always the same for a symbol."""
    return str(uuid5(NAMESPACE_URL, f"us_equity/{symbol}"))


def find_symbol(state: State, name: str) -> str:
    """The symbol that a client means by a symbol or by an asset id."""
    if len(name) == 36:
        by_id = {asset_id(symbol): symbol for symbol in state.market.symbols}
        return by_id.get(name.lower(), name)
    return name.upper()


def order_view(order: Order) -> dict[str, Any]:
    """Schema `Order`."""
    average = (order.filled_cost / order.filled_qty).quantize(_MILLIONTH) if order.filled_qty else None
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": timestamp(order.created_at),
        "updated_at": timestamp(order.updated_at),
        "submitted_at": timestamp(order.created_at),
        "filled_at": timestamp(order.filled_at),
        "expired_at": timestamp(order.expired_at),
        "expires_at": timestamp(order.expires_at),
        "canceled_at": timestamp(order.canceled_at),
        "failed_at": timestamp(order.failed_at),
        "replaced_at": timestamp(order.replaced_at),
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": asset_id(order.symbol),
        "symbol": order.symbol,
        "asset_class": "us_equity",
        "notional": _text(order.notional),
        "qty": _text(order.qty),
        "filled_qty": plain(order.filled_qty),
        "filled_avg_price": _text(average),
        "order_class": "simple",
        "order_type": order.type,
        "type": order.type,
        "side": order.side,
        "position_intent": order.position_intent,
        "time_in_force": order.time_in_force,
        "limit_price": _text(order.limit_price),
        "stop_price": _text(order.stop_price),
        "status": order.status,
        "extended_hours": order.extended_hours,
        "legs": None,
        "trail_percent": None,
        "trail_price": None,
        "hwm": None,
    }


def position_view(state: State, account: Account, position: Position) -> dict[str, Any]:
    """Schema `Position`."""
    price = state.price(position.symbol)
    last = state.market.close_before(position.symbol, in_new_york(state.now).date())
    yesterday = price if last is None else to_price(last)
    value, basis = position.qty * price, position.qty * position.average_price
    today = day_basis(state, account, position, yesterday)
    return {
        "asset_id": asset_id(position.symbol),
        "symbol": position.symbol,
        "exchange": _LISTED_AT,
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": plain(position.qty),
        "qty_available": plain(available(account, position.symbol)),
        "side": "long" if position.qty > 0 else "short",
        "avg_entry_price": plain(position.average_price.quantize(_MILLIONTH)),
        "market_value": _money(value),
        "cost_basis": _money(basis),
        "unrealized_pl": _money(value - basis),
        "unrealized_plpc": _ratio(value - basis, abs(basis)),
        "unrealized_intraday_pl": _money(value - today),
        "unrealized_intraday_plpc": _ratio(value - today, abs(today)),
        "current_price": plain(price),
        "lastday_price": plain(yesterday),
        "change_today": _ratio(price - yesterday, yesterday),
    }


def account_view(state: State, account: Account) -> dict[str, Any]:
    """Schema `Account`."""
    worth, last = state.worth(account), state.last_equity(account)
    power = _money(worth.buying_power)
    maintenance = _money((worth.long - worth.short) * _MAINTENANCE)
    return {
        "id": account.id,
        "account_number": account.number,
        "status": "ACTIVE",
        "currency": "USD",
        "cash": plain(account.cash),
        "equity": plain(worth.equity),
        "portfolio_value": plain(worth.equity),
        "last_equity": plain(last.equity),
        "long_market_value": plain(worth.long),
        "short_market_value": plain(worth.short),
        "buying_power": power,
        "regt_buying_power": _money(worth.regt_buying_power),
        "daytrading_buying_power": power if worth.multiplier > REG_T else "0",
        "non_marginable_buying_power": _money(max(ZERO, account.cash - worth.reserved)),
        "initial_margin": _money(worth.initial_margin),
        "maintenance_margin": maintenance,
        "last_maintenance_margin": maintenance,
        "multiplier": str(worth.multiplier),
        "balance_asof": (last.day or in_new_york(account.created_at).date()).isoformat(),
        "created_at": timestamp(account.created_at),
        "account_blocked": account.account_blocked,
        "trading_blocked": account.trading_blocked or account.account_blocked,
        "transfers_blocked": account.transfers_blocked or account.account_blocked,
        "trade_suspended_by_user": bool(account.configurations["suspend_trade"]),
        "shorting_enabled": not account.configurations["no_shorting"] and worth.multiplier > 1,
        **_NOT_OFFERED,
    }


def asset_view(state: State, symbol: str) -> dict[str, Any]:
    """Schema `Assets`."""
    listed, flags = state.market.listed(symbol, state.now), state.asset(symbol)
    return {
        "id": asset_id(symbol),
        "class": "us_equity",
        "exchange": _LISTED_AT,
        "symbol": symbol,
        "name": f"{symbol} Common Stock",
        "status": "active" if listed else "inactive",
        "tradable": listed and flags.tradable,
        "marginable": True,
        "shortable": flags.shortable,
        "easy_to_borrow": flags.easy_to_borrow,
        "borrow_status": "easy_to_borrow" if flags.easy_to_borrow else "hard_to_borrow",
        "fractionable": flags.fractionable,
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30",
        "attributes": [],
    }


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _money(value: Decimal) -> str:
    return plain(value.quantize(_MILLIONTH))


def _ratio(part: Decimal, whole: Decimal) -> str:
    return plain((part / whole).quantize(Decimal("0.00000001"))) if whole else "0"
