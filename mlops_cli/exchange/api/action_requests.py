"""Requests that announce corporate actions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from mlops_cli.exchange.book.order_requests import number
from mlops_cli.exchange.book.records import CorporateAction, refused

_SYMBOL = re.compile(r"[A-Z]{1,6}(\.[A-Z]{1,3})?")


@dataclass(frozen=True, slots=True)
class _Value:
    """The value that a kind of corporate action takes: its name in requests, its limits, whether it must be given."""

    name: str
    least: Decimal
    most: Decimal
    required: bool = True


_VALUES: dict[str, _Value | None] = {
    "split": _Value("ratio", Decimal("0.001"), Decimal(1000)),
    "dividend": _Value("amount", Decimal("0.000001"), Decimal(1_000_000)),
    "delisting": _Value("price", Decimal("0.0001"), Decimal(1_000_000), required=False),
    "rename": None,
    "spin_off": _Value("ratio", Decimal("0.001"), Decimal(1000)),
}
_PRICE = _Value("price", Decimal("0.0001"), Decimal(1_000_000), required=False)
"""Of a spin-off."""
_WITH_NEW_SYMBOL = ("rename", "spin_off")


def read_action(body: Mapping[str, Any]) -> CorporateAction:
    """Read the body of `POST /sim/corporate-actions`; a `RefusedError` names the first mistake in it."""
    kind, symbol = body.get("type"), body.get("symbol")
    if not isinstance(kind, str) or kind not in _VALUES or not isinstance(symbol, str):
        raise refused(f"type must be one of {', '.join(_VALUES)}, symbol a text")
    allowed = _VALUES[kind]
    try:
        day = date.fromisoformat(str(body.get("date")))
    except ValueError:
        raise refused("date must be a day such as 2024-06-10") from None
    return CorporateAction(
        kind,
        symbol,
        day,
        None if allowed is None else _read_value(body, allowed),
        body.get("close_positions", True) is True,
        _new_symbol(body) if kind in _WITH_NEW_SYMBOL else None,
        _read_value(body, _PRICE) if kind == "spin_off" else None,
        body.get("cash_in_lieu", True) is True,
    )


def _read_value(body: Mapping[str, Any], allowed: _Value) -> Decimal | None:
    value = number(body, allowed.name)
    if value is None:
        if allowed.required:
            raise refused(f"{allowed.name} is required")
        return None
    if not allowed.least <= value <= allowed.most:
        raise refused(f"{allowed.name} must be from {allowed.least} to {allowed.most}")
    return value


def _new_symbol(body: Mapping[str, Any]) -> str:
    given = body.get("new_symbol")
    if not isinstance(given, str) or not _SYMBOL.fullmatch(given) or given == body["symbol"]:
        raise refused("new_symbol must be another symbol, such as META")
    return given


def action_view(action: CorporateAction) -> dict[str, Any]:
    """An action as it was announced, without the members that it does not have."""
    allowed = _VALUES[action.kind]
    members: dict[str, Any] = {"type": action.kind, "symbol": action.symbol, "date": action.day.isoformat()}
    if allowed is not None and action.value is not None:
        members[allowed.name] = f"{action.value:f}"
    if action.new_symbol is not None:
        members["new_symbol"] = action.new_symbol
    if action.price is not None:
        members["price"] = f"{action.price:f}"
    if action.kind == "delisting":
        members["close_positions"] = action.closes_positions
    if action.kind in ("split", "spin_off"):
        members["cash_in_lieu"] = action.cash_in_lieu
    return members
