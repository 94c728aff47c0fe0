"""The exchange's answers about accounts, orders and positions, in the shapes of Alpaca's trading API v2."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from mlops_cli.exchange.book.accounting import REG_T, available
from mlops_cli.exchange.book.activities import plain, stamp
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.matching import to_price
from mlops_cli.exchange.book.records import ZERO, Account, Order, Position, unprocessable
from mlops_cli.market.hours import local, midnight, parse_time

LONGEST_DAYS = 36_500
PERIOD_DAYS = {"D": 1, "W": 7, "M": 30, "A": 365}
_ALPACA_LISTS_IT_AT = "NASDAQ"  # price tables do not know where a symbol is listed


@cache
def asset_id(symbol: str) -> str:
    """The same for a symbol everywhere."""
    return str(uuid5(NAMESPACE_URL, f"us_equity/{symbol}"))


def symbol_of(exchange: Exchange, name: str) -> str:
    """A symbol by its name or asset id."""
    if len(name) == 36:
        by_id = {asset_id(symbol): symbol for symbol in exchange.market.tables.symbols}
        return by_id.get(name.lower(), name)
    return name.upper()


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def order_view(order: Order) -> dict[str, Any]:
    """Schema `Order`."""
    average = (order.filled_cost / order.filled_qty).quantize(Decimal("0.000001")) if order.filled_qty else None
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": stamp(order.created_at),
        "updated_at": stamp(order.updated_at),
        "submitted_at": stamp(order.created_at),
        "filled_at": stamp(order.filled_at),
        "expired_at": stamp(order.expired_at),
        "expires_at": stamp(order.expires_at),
        "canceled_at": stamp(order.canceled_at),
        "failed_at": stamp(order.failed_at),
        "replaced_at": stamp(order.replaced_at),
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


def position_view(exchange: Exchange, account: Account, position: Position) -> dict[str, Any]:
    """Schema `Position`."""
    price = exchange.price(position.symbol)
    last = exchange.market.close_before(position.symbol, local(exchange.settled).date())
    yesterday = price if last is None else to_price(last)
    value, basis = position.qty * price, position.qty * position.average_price
    day_basis = _day_basis(exchange, account, position, yesterday)
    return {
        "asset_id": asset_id(position.symbol),
        "symbol": position.symbol,
        "exchange": _ALPACA_LISTS_IT_AT,
        "asset_class": "us_equity",
        "asset_marginable": True,
        "qty": plain(position.qty),
        "qty_available": plain(available(account, position.symbol)),
        "side": "long" if position.qty > 0 else "short",
        "avg_entry_price": plain(position.average_price.quantize(Decimal("0.000001"))),
        "market_value": _money(value),
        "cost_basis": _money(basis),
        "unrealized_pl": _money(value - basis),
        "unrealized_plpc": _ratio(value - basis, abs(basis)),
        "unrealized_intraday_pl": _money(value - day_basis),
        "unrealized_intraday_plpc": _ratio(value - day_basis, abs(day_basis)),
        "current_price": plain(price),
        "lastday_price": plain(yesterday),
        "change_today": _ratio(price - yesterday, yesterday),
    }


def _day_basis(exchange: Exchange, account: Account, position: Position, yesterday: Decimal) -> Decimal:
    """What the day's profit is counted from: shares held overnight at yesterday's close, the day's at their cost.

    Overnight shares are sold first; the day's own leave at their average cost, as in `avg_entry_price`.
    """
    fills: list[tuple[Decimal, Decimal]] = []
    midnight_before = midnight(local(exchange.settled).date())
    for one in reversed(account.activities):
        if one.at < midnight_before:
            break
        body = one.body
        if body["activity_type"] == "FILL" and body["symbol"] == position.symbol:
            fills.append((Decimal(body["qty"]) * (1 if body["side"] == "buy" else -1), Decimal(body["price"])))
    overnight = position.qty - sum((shares for shares, _ in fills), ZERO)
    bought, cost = ZERO, ZERO
    for shares, price in reversed(fills):
        closed = ZERO if overnight * shares >= 0 else -overnight if abs(shares) > abs(overnight) else shares
        overnight, change = overnight + closed, shares - closed
        after = bought + change
        if bought * change >= 0:
            cost += change * price
        else:
            cost = cost * after / bought if bought * after >= 0 else after * price
        bought = after
    return overnight * yesterday + cost


def account_view(exchange: Exchange, account: Account) -> dict[str, Any]:
    """Schema `Account`."""
    worth = exchange.worth(account)
    day, last = exchange.last_equity(account)
    margin = _money(worth.initial_margin)
    maintenance = _money((worth.long - worth.short) * Decimal("0.3"))
    power = _money(worth.buying_power)
    suspended = bool(account.configurations["suspend_trade"])
    return {
        "id": account.id,
        "account_number": account.number,
        "status": "ACTIVE",
        "crypto_status": "INACTIVE",
        "currency": "USD",
        "cash": plain(account.cash),
        "equity": plain(worth.equity),
        "portfolio_value": plain(worth.equity),
        "last_equity": plain(last),
        "long_market_value": plain(worth.long),
        "short_market_value": plain(worth.short),
        "buying_power": power,
        "regt_buying_power": _money(worth.regt_buying_power),
        "daytrading_buying_power": power if worth.multiplier > REG_T else "0",
        "non_marginable_buying_power": _money(max(ZERO, account.cash - worth.reserved)),
        "options_buying_power": "0",
        "initial_margin": margin,
        "maintenance_margin": maintenance,
        "last_maintenance_margin": maintenance,
        "sma": "0",
        "multiplier": str(worth.multiplier),
        "accrued_fees": "0",
        "pending_transfer_in": "0",
        "pending_transfer_out": "0",
        "intraday_adjustments": "0",
        "pending_reg_taf_fees": "0",
        "balance_asof": (day or local(account.created_at).date()).isoformat(),
        "created_at": stamp(account.created_at),
        "daytrade_count": 0,
        "pattern_day_trader": False,
        "options_approved_level": 0,
        "options_trading_level": 0,
        "account_blocked": False,
        "trading_blocked": False,
        "transfers_blocked": False,
        "trade_suspended_by_user": suspended,
        "shorting_enabled": not account.configurations["no_shorting"] and worth.multiplier > 1,
    }


def asset_view(exchange: Exchange, symbol: str) -> dict[str, Any]:
    """Schema `Assets`."""
    listed = exchange.market.listed(symbol, exchange.settled)
    return {
        "id": asset_id(symbol),
        "class": "us_equity",
        "exchange": _ALPACA_LISTS_IT_AT,
        "symbol": symbol,
        "name": f"{symbol} Common Stock",
        "status": "active" if listed else "inactive",
        "tradable": listed,
        "marginable": True,
        "shortable": True,
        "easy_to_borrow": True,
        "borrow_status": "easy_to_borrow",
        "fractionable": True,
        "maintenance_margin_requirement": 30,
        "margin_requirement_long": "30",
        "margin_requirement_short": "30",
        "attributes": [],
    }


def history_view(exchange: Exchange, account: Account, query: dict[str, str]) -> dict[str, Any]:
    """Schema `PortfolioHistory`: one point a session, at its close, and the present one.

    Profits count from the last close before the first point, or from that point itself where there is none.

    Raises:
        RefusedError: another timeframe than days, or days that are none.
    """
    if query.get("timeframe", "1D") != "1D":
        raise unprocessable("this exchange keeps portfolio history by day: timeframe must be 1D")
    today = local(exchange.settled).date()
    first, last = _days_asked(query, today)
    points = {day: value for day, value in account.equity.items() if first <= day <= last}
    if today not in points and first <= today <= last and exchange.hours.between(today, today):
        points[today] = exchange.worth(account).equity
    before = max((day for day in account.equity if day < first), default=None)
    days = sorted(points)
    values = [float(points[day]) for day in days]
    base = float(account.base_value) if before is None else float(account.equity[before])
    if before is None and values:
        base = values[0]
    return {
        "timestamp": [int(midnight(day).timestamp()) for day in days],
        "equity": values,
        "profit_loss": [round(value - base, 6) for value in values],
        "profit_loss_pct": [round(value / base - 1, 8) if base else 0.0 for value in values],
        "base_value": base,
        **({} if before is None else {"base_value_asof": before.isoformat()}),
        "timeframe": "1D",
    }


def _days_asked(query: dict[str, str], today: date) -> tuple[date, date]:
    """The first and last day that a history is asked for; both are part of it."""
    start, end, period = query.get("start"), query.get("end") or query.get("date_end"), query.get("period")
    if start and end and period:
        raise unprocessable("only two of start, end and period can be specified")
    try:
        length = _period(period or "1M")
        last = local(parse_time(end)).date() if end else today
        if not start:
            return last - length, last
        first = local(parse_time(start)).date()
        return first, first + length if period else last
    except ValueError:
        raise unprocessable("invalid start, end or period") from None


def _period(text: str) -> timedelta:
    unit = PERIOD_DAYS.get(text[-1:].upper())
    if unit is None or not 0 < int(text[:-1]) * unit < LONGEST_DAYS:
        raise ValueError(f"no period: {text}")
    return timedelta(days=int(text[:-1]) * unit)


def _money(value: Decimal) -> str:
    return plain(value.quantize(Decimal("0.000001")))


def _ratio(part: Decimal, whole: Decimal) -> str:
    return plain((part / whole).quantize(Decimal("0.00000001"))) if whole else "0"
