"""An OpenAPI document of the local exchange, for fuzzing: every endpoint with the members that it reads."""

from __future__ import annotations

import re
from typing import Any

from mlops_cli.exchange.api import account_endpoints, data_endpoints, sim_endpoints, trading_endpoints
from mlops_cli.exchange.book.faults import MARKET_KINDS, REQUEST_KINDS
from mlops_cli.exchange.book.order_requests import POSITION_INTENTS, TIMES_IN_FORCE, TYPES

ROUTERS = (account_endpoints, data_endpoints, sim_endpoints, trading_endpoints)
TEXT: dict[str, Any] = {"type": "string", "maxLength": 60}
SYMBOL = {"anyOf": [{"enum": ["AAPL", "FB", "GOOG", "IBM", "MSFT"]}, TEXT]}
NUMBER = {
    "anyOf": [{"type": "number"}, {"type": "integer"}, {"type": "string", "pattern": r"^-?[0-9]{1,30}(\.[0-9]+)?$"}]
}
FLAG = {"type": "boolean"}
FAULTS = [kind for kind in (*REQUEST_KINDS, *MARKET_KINDS) if kind not in ("timeout", "drop", "status")]
"""Those that do not let requests wait or fail."""
PAGE = ("after", "until", "direction", "page_size", "page_token")
DAY = {"anyOf": [{"type": "string", "format": "date"}, {"enum": ["2012-05-21", "2012-06-01", "2012-12-31"]}]}
QUERY = {
    "/v2/account/activities": ("activity_types", "category", "date", *PAGE),
    "/v2/account/activities/{kind}": ("date", *PAGE),
    "/v2/account/portfolio/history": ("period", "timeframe", "start", "end", "date_end"),
    "/v2/assets": ("status", "asset_class", "exchange", "attributes"),
    "/v2/calendar": ("start", "end"),
    "/v2/orders": ("status", "limit", "symbols", "side", "after_order_id", "before_order_id", *PAGE[:3]),
    "/v2/orders:by_client_order_id": ("client_order_id",),
    "/v2/positions": ("cancel_orders",),
    "/v2/positions/{symbol}": ("qty", "percentage"),
    "/v2/stocks/bars": ("symbols", "timeframe", "start", "end", "limit", "sort", "adjustment", "page_token"),
    "/v2/stocks/{symbol}/bars": ("timeframe", "start", "end", "limit", "sort", "adjustment", "page_token"),
    "/sim/faults": ("kind",),
}  # fmt: skip
KNOWN = {
    "timeframe": ["1Min", "15Min", "1Hour", "1Day", "1Week", "12Month"], "start": ["2012-05-01"], "end": ["2012-06-01"],
    "symbols": ["AAPL,IBM"], "status": ["open", "closed", "all", "active"], "limit": ["1", "10000"], "period": ["1A"],
    "direction": ["asc"], "sort": ["desc"], "adjustment": ["split"], "percentage": ["50"], "cancel_orders": ["true"],
}  # fmt: skip
ORDER = {
    "symbol": SYMBOL, "side": {"enum": ["buy", "sell"]}, "type": {"enum": list(TYPES)}, "qty": NUMBER,
    "time_in_force": {"enum": list(TIMES_IN_FORCE)}, "notional": NUMBER, "limit_price": NUMBER, "stop_price": NUMBER,
    "client_order_id": TEXT, "extended_hours": FLAG, "position_intent": {"enum": list(POSITION_INTENTS)},
}  # fmt: skip
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v2/orders"): ORDER,
    ("PATCH", "/v2/orders/{order_id}"): ORDER,
    ("PATCH", "/v2/account/configurations"): {
        "no_shorting": FLAG, "suspend_trade": FLAG, "pdt_check": TEXT,
        "max_margin_multiplier": {"enum": ["1", "2", "4"]},
    },
    ("POST", "/sim/clock"): {
        "now": {"anyOf": [{"type": "string", "format": "date-time"}, TEXT]},
        "to": {"enum": ["next_open", "next_close"]},
        "seconds": {"type": "number", "minimum": -1e5, "maximum": 1e5},
    },
    ("POST", "/sim/faults"): {
        "kind": {"enum": FAULTS},
        "symbol": SYMBOL, "times": NUMBER, "skip": NUMBER, "factor": NUMBER, "fraction": NUMBER, "seed": NUMBER,
        "seconds": NUMBER, "probability": NUMBER,
    },
    ("POST", "/sim/market"): {"spread_bps": NUMBER, "slippage_bps": NUMBER, "volume_limit": NUMBER},
    ("POST", "/sim/corporate-actions"): {
        "type": {"enum": ["split", "dividend", "delisting", "rename", "spin_off"]}, "symbol": SYMBOL, "date": DAY,
        "ratio": NUMBER, "amount": NUMBER, "price": NUMBER,
        "new_symbol": {"anyOf": [{"pattern": "^[A-Z]{1,6}$", "type": "string"}, TEXT]},
        "close_positions": FLAG, "cash_in_lieu": FLAG,
    },
    ("POST", "/sim/assets"): {
        "symbol": SYMBOL, "tradable": FLAG, "shortable": FLAG, "easy_to_borrow": FLAG, "fractionable": FLAG
    },
    ("POST", "/sim/accounts"): {
        "key": {"enum": ["fuzz", "other"]}, "cash": NUMBER, "trading_blocked": FLAG, "account_blocked": FLAG
    },
}  # fmt: skip


def endpoints() -> list[tuple[str, str]]:
    """Method and path of every endpoint."""
    return sorted(
        (method, route.path)
        for router in ROUTERS
        for route in router.routes.routes
        for method in route.methods - {"HEAD"}
    )


def document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, Any] = {}
    for method, path in endpoints():
        operation: dict[str, Any] = {"responses": {"default": {"description": "JSON"}}}
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": SYMBOL if name == "symbol" else TEXT}
            for name in re.findall(r"{(\w+)}", path)
        ] + [{"name": name, "in": "query", "schema": _query_schema(name)} for name in QUERY.get(path, ())]
        if (method, path) in BODIES:
            schema = {"type": "object", "properties": BODIES[method, path]}
            operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        paths.setdefault(path, {})[method.lower()] = operation
    return {"openapi": "3.1.0", "info": {"title": "exchange", "version": "1"}, "paths": paths}


def _query_schema(name: str) -> dict[str, Any]:
    return {"anyOf": [{"enum": KNOWN[name]}, TEXT]} if name in KNOWN else TEXT
