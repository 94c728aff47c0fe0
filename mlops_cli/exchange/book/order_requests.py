"""Requests for orders, checked as Alpaca checks them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlops_cli.exchange.book.records import SHARE, TICK, ZERO, Order, forbidden, is_whole, refused, unprocessable

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
class OrderRequest:
    """A well-formed request for an order; prices and notional in USD. No `position_intent` accepts any."""

    symbol: str
    side: str
    type: str
    time_in_force: str
    qty: Decimal | None
    notional: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    client_order_id: str | None = None
    extended_hours: bool = False
    position_intent: str | None = None

    @property
    def fractional(self) -> bool:
        """Whether the order may contain a fraction of a share."""
        return self.qty is None or not is_whole(self.qty)


def read_order_request(body: Mapping[str, Any]) -> OrderRequest:
    """Read and check the body of `POST /v2/orders`; a `RefusedError` names the first mistake in it."""
    if body.get("order_class") not in (None, "", "simple"):
        raise unprocessable(f"{body['order_class']} orders are not supported by this exchange")
    _check_supported(body)
    request = OrderRequest(
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
    check(request)
    return request


def read_replacement(body: Mapping[str, Any], order: Order) -> OrderRequest:
    """Read the body of `PATCH /v2/orders/{}`: the members that it lacks stay as they are in the order.

    A `RefusedError` names the first mistake in it.
    """
    force = body.get("time_in_force") or order.time_in_force
    if force not in TIMES_IN_FORCE:
        raise refused(f"invalid time_in_force: {str(force)[:40]!r}")
    if body.get("trail") or body.get("notional"):
        raise unprocessable("trailing_stop and notional orders cannot be replaced at this exchange")
    _check_supported(body)
    return OrderRequest(
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        time_in_force=force,
        qty=number(body, "qty") or order.qty,
        notional=order.notional,
        limit_price=number(body, "limit_price") or order.limit_price,
        stop_price=number(body, "stop_price") or order.stop_price,
        client_order_id=client_id(body),
        extended_hours=order.extended_hours,
        position_intent=order.position_intent,
    )


def _check_supported(body: Mapping[str, Any]) -> None:
    """Refuse members that this exchange does not support and that would change the order."""
    for name in _NOT_SUPPORTED:
        if body.get(name):
            raise unprocessable(f"{name} is not supported by this exchange")


def check(request: OrderRequest) -> None:
    """Raise a `RefusedError` for the first members of a request that do not fit together."""
    _check_size(request)
    _check_prices(request)
    if request.time_in_force in ("opg", "cls") and request.type not in ("market", "limit"):
        raise unprocessable(f"{request.time_in_force} orders must be market or limit orders")
    if request.extended_hours and (request.type != "limit" or request.time_in_force not in ("day", "gtc")):
        raise unprocessable("extended hours order must be DAY or GTC limit orders")


def _check_size(request: OrderRequest) -> None:
    if request.qty is None and request.notional is None:
        raise refused("qty or notional is required")
    if request.qty is not None and request.notional is not None:
        raise refused("only one of qty or notional is accepted")
    if request.fractional and request.time_in_force != "day":
        raise unprocessable("fractional orders must be DAY orders")
    if request.qty is not None and request.qty != request.qty.quantize(SHARE):
        raise unprocessable("qty must be limited to 9 decimal places")
    if request.notional is not None:
        _check_notional(request.notional)


def _check_notional(notional: Decimal) -> None:
    if notional != notional.quantize(_CENT):
        raise unprocessable("notional value must be limited to 2 decimal places")
    if notional < _LEAST_NOTIONAL:
        raise forbidden(f"cost basis must be >= minimal amount of order {_LEAST_NOTIONAL}")


def _check_prices(request: OrderRequest) -> None:
    prices = {"limit": request.limit_price, "stop": request.stop_price}
    if request.type == "market" and set(prices.values()) != {None}:
        raise refused("market orders require no stop or limit price")
    for kind, price in prices.items():
        needed = kind in request.type.split("_")
        if needed != (price is not None):
            raise refused(f"{request.type} orders require {'a' if needed else 'no'} {kind} price")
    for kind, price in prices.items():
        if price is not None and price % (_CENT if price >= 1 else TICK) != 0:
            increment = "sub-penny increment does not fulfill minimum pricing criteria"
            raise unprocessable(f"invalid {kind}_price {price}. {increment}")


def number(body: Mapping[str, Any], name: str) -> Decimal | None:
    """Read a positive number from a JSON number or text, None if it is missing or empty, or raise a `RefusedError`."""
    given = body.get(name)
    if given is None or given == "":
        return None
    text = str(given)
    # Decimal alone accepts 1_000 and the digits of other scripts
    value = Decimal(text) if _NUMBER.fullmatch(text) else None
    if value is None or value > _MOST:
        raise refused(f"invalid {name}: {text[:40]!r}")
    if value <= ZERO:
        raise refused(f"{name.replace('_', ' ')} must be > 0")
    return value


def client_id(body: Mapping[str, Any]) -> str | None:
    """Read the client's own id of an order, None if there is none; a `RefusedError` if it is no text, or too long."""
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
