"""Checks answers against Alpaca's own OpenAPI files: which schema an endpoint's answer must have, and if it has it.

tests/contract/data/alpaca contains the schemas that are needed, without their prose. To write them again from the
complete files, run: python -m tests.fakes.alpaca_contract FOLDER_OF_THE_COMPLETE_FILES
"""

from __future__ import annotations

import json
import re
import sys
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import jsonschema
import requests

DATA = Path(__file__).resolve().parents[1] / "contract" / "data" / "alpaca"
FILES = ("trading-api.json", "market-data-api.json")
PROSE = {"description", "example", "examples", "title", "externalDocs", "deprecated"}
TRADING = {
    ("GET", "/v2/account"): "Account",
    ("GET", "/v2/account/configurations"): "AccountConfigurations",
    ("PATCH", "/v2/account/configurations"): "AccountConfigurations",
    ("GET", "/v2/account/activities"): "[Activity]",
    ("GET", "/v2/account/activities/{}"): "[Activity]",
    ("GET", "/v2/account/portfolio/history"): "PortfolioHistory",
    ("GET", "/v2/assets"): "[Assets]",
    ("GET", "/v2/assets/{}"): "Assets",
    ("GET", "/v2/calendar"): "legacy_public_calendar_resp",
    ("GET", "/v2/clock"): "legacy_clock",
    ("GET", "/v2/orders"): "[Order]",
    ("POST", "/v2/orders"): "Order",
    ("DELETE", "/v2/orders"): "[CanceledOrderResponse]",
    ("GET", "/v2/orders/{}"): "Order",
    ("PATCH", "/v2/orders/{}"): "Order",
    ("GET", "/v2/orders:by_client_order_id"): "Order",
    ("GET", "/v2/positions"): "[Position]",
    ("DELETE", "/v2/positions"): "[PositionClosedReponse]",
    ("GET", "/v2/positions/{}"): "Position",
    ("DELETE", "/v2/positions/{}"): "Order",
}
MARKET_DATA = {
    ("GET", "/v2/stocks/bars"): "stock_bars_resp",
    ("GET", "/v2/stocks/{}/bars"): "stock_bars_resp_single",
    ("GET", "/v2/stocks/snapshots"): "stock_snapshots_resp",
    ("GET", "/v2/stocks/{}/snapshot"): "stock_snapshots_resp_single",
    **{("GET", f"/v2/stocks/{n}s/latest"): f"stock_latest_{n}s_resp" for n in ("bar", "quote", "trade")},
    **{("GET", f"/v2/stocks/{{}}/{n}s/latest"): f"stock_latest_{n}s_resp_single" for n in ("bar", "quote", "trade")},
}
CORPORATE_ACTIONS = {"cash_dividend", "forward_split", "reverse_split"}
"""Parts of the answer of /v1/corporate-actions, which the local exchange does not have."""
STATUS = {("DELETE", "/v2/orders"): 207, ("DELETE", "/v2/positions"): 207}
EXTRA = ("Error", "TradingActivities", "NonTradeActivities")


def _is_time(text: str) -> bool:
    assert "T" in text
    return datetime.fromisoformat(text).tzinfo is not None


_formats = jsonschema.FormatChecker(formats=())
_formats.checks("date-time", raises=(ValueError, AssertionError))(_is_time)
_formats.checks("date", raises=ValueError)(lambda text: bool(date.fromisoformat(text)))
_formats.checks("uuid", raises=ValueError)(lambda text: bool(UUID(text)))


def slim(whole: dict[str, Any], roots: set[str]) -> dict[str, Any]:
    """The schemas `roots` and all schemas that they refer to, without prose."""
    schemas, needed = whole["components"]["schemas"], {}
    waiting = sorted(roots)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = _without_prose(schemas[name])
            waiting += re.findall(r"#/components/schemas/([\w]+)", json.dumps(needed[name]))
    return {"openapi": whole["openapi"], "components": {"schemas": dict(sorted(needed.items()))}}


def _without_prose(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_prose(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    members = {k: v for k, v in schema.items() if not k.startswith("x-") and (k not in PROSE or isinstance(v, dict))}
    return {key: _without_prose(value) for key, value in members.items()}


def roots(file: str) -> set[str]:
    """Names of the schemas of the answers that a file describes."""
    if file == FILES[1]:
        return set(MARKET_DATA.values()) | CORPORATE_ACTIONS
    return {name.strip("[]") for name in TRADING.values() if name != "[Activity]"} | set(EXTRA)


@lru_cache
def schemas(file: str) -> dict[str, Any]:
    """A file's schemas as JSON Schema: OpenAPI 3.0 says `nullable`, JSON Schema a further type."""
    return {"components": {"schemas": _nullable(json.loads((DATA / file).read_text())["components"]["schemas"])}}


def _nullable(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_nullable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _nullable(value) for key, value in schema.items() if key != "nullable"}
    if schema.get("nullable") is True:
        return {"anyOf": [{"type": "null"}, made]}
    return made


def check(file: str, name: str, body: Any) -> None:
    """Check a body against a schema.

    Raises:
        jsonschema.ValidationError: the body does not have the schema.
    """
    if name.startswith("["):
        assert isinstance(body, list), body
        for member in body:
            check(file, name.strip("[]"), member)
    elif name == "Activity":
        # the file says oneOf, which no fill fulfils, because every trade activity is a non-trade activity, too
        check(file, "TradingActivities" if body["activity_type"] == "FILL" else "NonTradeActivities", body)
    else:
        schema = {"$ref": f"#/components/schemas/{name}", **schemas(file)}
        jsonschema.Draft202012Validator(schema, format_checker=_formats).validate(body)


def judge(method: str, path: str, status: int, text: str) -> tuple[str, str]:
    """Check an answer by the endpoint that gave it.

    Returns:
        The endpoint, as method and path with {} for its parameters.
    """
    endpoint = next(each for each in [*TRADING, *MARKET_DATA, ("DELETE", "/v2/orders/{}")] if _fits(each, method, path))
    if status >= 400:
        check(FILES[0], "Error", json.loads(text))
        assert json.loads(text)["code"] // 100_000 in (status, 400), text
    elif endpoint == ("DELETE", "/v2/orders/{}"):
        assert (status, text) == (204, "")
    else:
        assert status == STATUS.get(endpoint, 200)
        file, name = (FILES[0], TRADING[endpoint]) if endpoint in TRADING else (FILES[1], MARKET_DATA[endpoint])
        check(file, name, json.loads(text))
    return endpoint


def watch(session: requests.Session, seen: set[tuple[str, str]]) -> None:
    """Check every answer that a session receives, and add its endpoint to `seen`."""

    def look(response: requests.Response, *_: object, **__: object) -> None:
        path, method = urlsplit(str(response.request.url)).path, str(response.request.method)
        seen.add(judge(method, path, response.status_code, response.text))

    session.hooks["response"].append(look)


def _fits(endpoint: tuple[str, str], method: str, path: str) -> bool:
    pattern = re.escape(endpoint[1]).replace(r"\{\}", "[^/]+")
    return endpoint[0] == method and re.fullmatch(pattern, path) is not None


if __name__ == "__main__":
    DATA.mkdir(parents=True, exist_ok=True)
    for each in FILES:
        made = slim(json.loads((Path(sys.argv[1]) / each).read_text()), roots(each))
        (DATA / each).write_text(json.dumps(made, indent=1) + "\n")
