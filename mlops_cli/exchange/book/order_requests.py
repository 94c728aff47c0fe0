"""What a client may ask for: order requests, checked as Alpaca checks them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlops_cli.exchange.book.records import SHARE, ZERO, forbidden, refused, unprocessable

TYPES = ("market", "limit", "stop", "stop_limit")
TIMES_IN_FORCE = ("day", "gtc", "opg", "cls", "ioc", "fok")
POSITION_INTENTS = ("buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close")
LONGEST_CLIENT_ID = 128
_NOT_SUPPORTED = ("legs", "take_profit", "stop_loss", "trail_price", "trail_percent", "advanced_instructions")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_CENT = Decimal("0.01")
_LEAST_NOTIONAL = Decimal(1)
_MOST = Decimal(10) ** 12


@dataclass(slots=True)
class Ticket:
    """A well-formed order request; prices in USD.

    Attributes:
        position_intent: what it must do to the position; None for whatever it does.
    """

    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal | None
    notional: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    client_order_id: str | None
    extended_hours: bool = False
    position_intent: str | None = None

    @property
    def fractional(self) -> bool:
        """Whether it is about parts of a share."""
        return self.qty is None or self.qty != self.qty.to_integral_value()


def read_ticket(body: Mapping[str, Any]) -> Ticket:
    """Check the body of `POST /v2/orders`.

    Raises:
        RefusedError: the first thing about it that is wrong.
    """
    if body.get("order_class") not in (None, "", "simple"):
        raise unprocessable(f"{body['order_class']} orders are not supported by this exchange")
    check_supported(body)
    ticket = Ticket(
        symbol=_word(body, "symbol"),
        side=_word(body, "side", ("buy", "sell")),
        type=_word(body, "type", TYPES),
        time_in_force=_word(body, "time_in_force", TIMES_IN_FORCE),
        qty=number(body, "qty"),
        notional=number(body, "notional"),
        limit_price=number(body, "limit_price"),
        stop_price=number(body, "stop_price"),
        client_order_id=client_id(body),
        extended_hours=body.get("extended_hours") is True,
        position_intent=_word(body, "position_intent", POSITION_INTENTS) if body.get("position_intent") else None,
    )
    check(ticket)
    return ticket


def check_supported(body: Mapping[str, Any]) -> None:
    """Refuse what would make another order of it.

    Raises:
        RefusedError: there is such a member.
    """
    for name in _NOT_SUPPORTED:
        if body.get(name):
            raise unprocessable(f"{name} is not supported by this exchange")


def check(ticket: Ticket) -> None:
    """Check what belongs together.

    Raises:
        RefusedError: the first thing that does not.
    """
    _check_size(ticket)
    _check_prices(ticket)
    if ticket.time_in_force in ("opg", "cls") and ticket.type not in ("market", "limit"):
        raise unprocessable(f"{ticket.time_in_force} orders must be market or limit orders")
    if ticket.extended_hours and (ticket.type != "limit" or ticket.time_in_force not in ("day", "gtc")):
        raise unprocessable("extended hours order must be DAY or GTC limit orders")


def _check_size(ticket: Ticket) -> None:
    if ticket.qty is None and ticket.notional is None:
        raise refused("qty or notional is required")
    if ticket.qty is not None and ticket.notional is not None:
        raise refused("only one of qty or notional is accepted")
    if ticket.fractional and ticket.time_in_force != "day":
        raise unprocessable("fractional orders must be DAY orders")
    if ticket.qty is not None and ticket.qty != ticket.qty.quantize(SHARE):
        raise unprocessable("qty must be limited to 9 decimal places")
    if ticket.notional is not None:
        if ticket.notional != ticket.notional.quantize(_CENT):
            raise unprocessable("notional value must be limited to 2 decimal places")
        if ticket.notional < _LEAST_NOTIONAL:
            raise forbidden(f"cost basis must be >= minimal amount of order {_LEAST_NOTIONAL}")


def _check_prices(ticket: Ticket) -> None:
    wants_limit, wants_stop = ticket.type in ("limit", "stop_limit"), ticket.type in ("stop", "stop_limit")
    if ticket.type == "market" and (ticket.limit_price is not None or ticket.stop_price is not None):
        raise refused("market orders require no stop or limit price")
    if wants_limit != (ticket.limit_price is not None):
        raise refused(f"{ticket.type} orders require {'a' if wants_limit else 'no'} limit price")
    if wants_stop != (ticket.stop_price is not None):
        raise refused(f"{ticket.type} orders require {'a' if wants_stop else 'no'} stop price")
    for name, price in (("limit_price", ticket.limit_price), ("stop_price", ticket.stop_price)):
        step = _CENT if price is not None and price >= 1 else Decimal("0.0001")
        if price is not None and price % step != 0:
            raise unprocessable(
                f"invalid {name} {price}. sub-penny increment does not fulfill minimum pricing criteria"
            )


def number(body: Mapping[str, Any], name: str) -> Decimal | None:
    """A positive number, given as JSON number or text; None where there is none.

    Raises:
        RefusedError: it is no such number.
    """
    given = body.get(name)
    if given is None or given == "":
        return None
    text = str(given)
    value = Decimal(text) if _NUMBER.fullmatch(text) else None  # Decimal alone takes 1_000 and other scripts' digits
    if value is None or value > _MOST:
        raise refused(f"invalid {name}: {str(given)[:40]!r}")
    if value <= ZERO:
        raise refused(f"{name.replace('_', ' ')} must be > 0")
    return value


def client_id(body: Mapping[str, Any]) -> str | None:
    """The client's own id of an order; None where it gave none.

    Raises:
        RefusedError: it is no text or too long.
    """
    given = body.get("client_order_id")
    if given is None or given == "":
        return None
    if not isinstance(given, str) or len(given) > LONGEST_CLIENT_ID:
        raise refused(f"client_order_id must be no more than {LONGEST_CLIENT_ID} characters")
    return given


def _word(body: Mapping[str, Any], name: str, allowed: tuple[str, ...] = ()) -> str:
    given = body.get(name)
    if given is None or given == "":
        raise refused(f"{name} is required")
    if not isinstance(given, str) or (allowed and given not in allowed):
        raise refused(f"invalid {name}: {str(given)[:40]!r}")
    return given
