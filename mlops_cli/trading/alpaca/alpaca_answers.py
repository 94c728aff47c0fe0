"""Conversions between Alpaca's JSON and the port's types, with exact decimals and times in UTC."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import wraps
from typing import Any

from mlops_cli.errors import BrokerError
from mlops_cli.market.hours import NEW_YORK
from mlops_cli.market.symbols import symbol_of, ticker_of
from mlops_cli.trading.contract.broker import AccountActivity, Bar, BrokerOrder, Fill, Quote, SessionHours
from mlops_cli.trading.contract.types import Holding, OrderIntent

MOVES_SHARES = frozenset({"SPLIT", "REORG", "MA", "NC", "SPIN", "ACATS", "JNLS", "FOPT"})


def as_alpaca[**Given, Read](method: Callable[Given, Read]) -> Callable[Given, Read]:
    """Raise BrokerError where a broker's method cannot read an answer: another server is at its `address`."""

    @wraps(method)
    def read(*args: Given.args, **kwargs: Given.kwargs) -> Read:
        try:
            return method(*args, **kwargs)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            address = getattr(args[0], "address", "the broker")
            words = f"{address} answers, but not as Alpaca does ({type(error).__name__})"
            raise BrokerError(words, "look at ALPACA_BASE_URL in .env") from error

    return read


def said_of(error: Any) -> tuple[int, str]:
    """Code and message of alpaca-py's APIError; the code is 0 where the body is not Alpaca's JSON."""
    try:
        return int(error.code), str(error.message)
    except (ValueError, KeyError, TypeError):
        return 0, f"HTTP {error.status_code}"


def why(error: Exception) -> str:
    """Why there was no answer: the operating system's words, if requests' long message has any."""
    system = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    return f"{type(error).__name__}: {system[1] if system else error}"


def fields_of(intent: OrderIntent) -> dict[str, Any]:
    """The body of an order; decimals as text, which alpaca-py's own request classes would turn into floats."""
    fields = {
        "symbol": symbol_of(intent.ticker),
        "side": intent.side,
        "type": intent.type,
        "time_in_force": intent.time_in_force,
        "client_order_id": intent.client_order_id,
    }
    amounts = {"qty": intent.qty, "notional": intent.notional, "limit_price": intent.limit_price}
    return fields | {name: f"{value:f}" for name, value in amounts.items() if value is not None}


def time_of(text: str) -> datetime:
    """A time in UTC; nanoseconds are cut."""
    return datetime.fromisoformat(text).astimezone(UTC)


def decimal_of(value: Any) -> Decimal | None:
    """A number that comes as text or as a JSON number; None for nothing."""
    return None if value in (None, "") else Decimal(str(value))


def hours_of(raw: dict[str, Any]) -> SessionHours:
    """A day of the calendar, whose hours are New York's."""
    day = date.fromisoformat(raw["date"])
    opens, closes = (
        datetime.fromisoformat(f"{raw['date']}T{raw[name]}").replace(tzinfo=NEW_YORK).astimezone(UTC)
        for name in ("open", "close")
    )
    return SessionHours(day, opens, closes)


def holding_of(raw: dict[str, Any]) -> Holding:
    """A position."""
    value, price = decimal_of(raw.get("market_value")) or Decimal(0), decimal_of(raw.get("current_price")) or Decimal(0)
    return Holding(ticker_of(raw["symbol"]), Decimal(raw["qty"]), value, Decimal(raw["avg_entry_price"]), price)


def order_of(raw: dict[str, Any]) -> BrokerOrder:
    """An order."""
    return BrokerOrder(
        id=raw["id"],
        client_order_id=raw["client_order_id"],
        ticker=ticker_of(raw["symbol"]),
        side=raw["side"],
        type=raw["type"],
        time_in_force=raw["time_in_force"],
        status=raw["status"],
        qty=decimal_of(raw.get("qty")),
        notional=decimal_of(raw.get("notional")),
        limit_price=decimal_of(raw.get("limit_price")),
        filled_qty=decimal_of(raw.get("filled_qty")) or Decimal(0),
        filled_average_price=decimal_of(raw.get("filled_avg_price")),
        submitted_at=time_of(raw["submitted_at"] or raw["created_at"]),
    )


def fill_of(raw: dict[str, Any]) -> Fill:
    """An execution."""
    side = "buy" if raw["side"] == "buy" else "sell"  # Alpaca also says sell_short
    return Fill(
        raw["id"],
        raw["order_id"],
        ticker_of(raw["symbol"]),
        side,
        Decimal(raw["qty"]),
        Decimal(raw["price"]),
        time_of(raw["transaction_time"]),
    )


def activity_of(raw: dict[str, Any]) -> AccountActivity:
    """Any other activity."""
    kind = raw["activity_type"]
    # the qty of a dividend is the shares it was paid for, not shares that came
    qty = (decimal_of(raw.get("qty")) or Decimal(0)) if kind in MOVES_SHARES else Decimal(0)
    cash = decimal_of(raw.get("net_amount")) or Decimal(0)
    day = date.fromisoformat(raw["date"][:10])
    time = time_of(raw.get("created_at") or f"{day}T00:00:00Z")
    return AccountActivity(raw["id"], kind, ticker_of(raw.get("symbol") or ""), qty, cash, day, time)


def quote_of(symbol: str, raw: dict[str, Any]) -> Quote:
    """A latest quote."""
    return Quote(ticker_of(symbol), Decimal(str(raw["bp"])), Decimal(str(raw["ap"])), time_of(raw["t"]))


def bar_of(symbol: str, raw: dict[str, Any]) -> Bar:
    """A daily bar; its time is the midnight before the session, in New York."""
    session = time_of(raw["t"]).astimezone(NEW_YORK).date()
    return Bar(ticker_of(symbol), session, *(Decimal(str(raw[name])) for name in ("o", "h", "l", "c", "v")))
