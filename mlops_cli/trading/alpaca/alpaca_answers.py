"""Conversions between Alpaca's JSON and the port's types, with exact decimals and times in UTC."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import wraps
from typing import Any

from mlops_cli.errors import BrokerError, printable
from mlops_cli.market.hours import NEW_YORK
from mlops_cli.market.symbols import symbol_of, ticker_of
from mlops_cli.trading.contract.broker import AccountActivity, Bar, BrokerOrder, Fill, Quote, SessionHours
from mlops_cli.trading.contract.types import Holding, OrderIntent

MOST_DIGITS, LONGEST_WORD = 30, 500
MOVES_SHARES = frozenset({"SPLIT", "REORG", "MA", "NC", "SPIN"})
"""What companies do with their shares. Shares that a person moved (ACATS, JNLS, FOPT) are left out: nothing of the team
explains them."""


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
    except RecursionError:
        return 0, f"HTTP {error.status_code}, nested too deeply"


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


def word_of(value: Any) -> str:
    """A name, an id or a status, with control characters escaped; a `ValueError` for anything else."""
    if not isinstance(value, str) or len(value) > LONGEST_WORD:
        raise ValueError("no name")
    return printable(value)


def time_of(text: str) -> datetime:
    """A time in UTC; nanoseconds are cut."""
    return datetime.fromisoformat(text).astimezone(UTC)


def number_of(value: Any) -> Decimal:
    """A number that comes as text or as a JSON number; a `ValueError` for one that is no amount of anything."""
    number = Decimal(str(value))
    if not number.is_finite() or abs(number.adjusted()) > MOST_DIGITS:
        raise ValueError(f"no amount: {str(value)[:30]}")
    return number


def decimal_of(value: Any) -> Decimal | None:
    """A number that may be missing; None for nothing."""
    return None if value in (None, "") else number_of(value)


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
    return Holding(
        ticker_of(word_of(raw["symbol"])), number_of(raw["qty"]), value, number_of(raw["avg_entry_price"]), price
    )


def order_of(raw: dict[str, Any]) -> BrokerOrder:
    """An order."""
    return BrokerOrder(
        id=word_of(raw["id"]),
        client_order_id=word_of(raw.get("client_order_id") or ""),
        ticker=ticker_of(word_of(raw["symbol"])),
        side=word_of(raw["side"]),
        type=word_of(raw["type"]),
        time_in_force=word_of(raw["time_in_force"]),
        status=word_of(raw["status"]),
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
        word_of(raw["id"]),
        word_of(raw.get("order_id") or ""),
        ticker_of(word_of(raw["symbol"])),
        side,
        number_of(raw["qty"]),
        number_of(raw["price"]),
        time_of(raw["transaction_time"]),
    )


def activity_of(raw: dict[str, Any]) -> AccountActivity:
    """Any other activity."""
    kind = word_of(raw["activity_type"])
    # the qty of a dividend is the shares it was paid for, not shares that came
    qty = (decimal_of(raw.get("qty")) or Decimal(0)) if kind in MOVES_SHARES else Decimal(0)
    cash = decimal_of(raw.get("net_amount")) or Decimal(0)
    day = date.fromisoformat(raw["date"][:10])
    time = time_of(raw.get("created_at") or f"{day}T00:00:00Z")
    ticker = ticker_of(word_of(raw.get("symbol") or ""))
    return AccountActivity(word_of(raw["id"]), kind, ticker, qty, cash, day, time)


def quote_of(symbol: str, raw: dict[str, Any]) -> Quote:
    """A latest quote."""
    return Quote(ticker_of(symbol), number_of(raw["bp"]), number_of(raw["ap"]), time_of(raw["t"]))


def bar_of(symbol: str, raw: dict[str, Any]) -> Bar:
    """A daily bar; its time is the midnight before the session, in New York."""
    session = time_of(raw["t"]).astimezone(NEW_YORK).date()
    return Bar(ticker_of(symbol), session, *(number_of(raw[name]) for name in ("o", "h", "l", "c", "v")))
