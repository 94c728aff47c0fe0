"""Endpoints of Alpaca's trading API v2 around the account: its history, what can be traded, and when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from mlops_cli.exchange.api import views
from mlops_cli.exchange.api.responses import account_of, answer, endpoint, exchange_of, json_body, whole
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import Activity, RefusedError, not_found, refused
from mlops_cli.market.hours import Session, local, parse_time

routes = APIRouter()
MOST_ACTIVITIES = 100
_CHECKS = ("both", "entry", "exit")
_CHOICES: dict[str, tuple[Any, ...]] = {
    "dtbp_check": _CHECKS,
    "max_margin_multiplier": ("1", "2", "4"),
    "max_options_trading_level": (0, 1, 2, 3),
    "pdt_check": _CHECKS,
    "trade_confirm_email": ("all", "none"),
}
"""Of the configurations that are no booleans."""


@endpoint(routes, "/v2/account", "GET")
async def get_account(request: Request) -> Response:
    """The account."""
    return answer(views.account_view(exchange_of(request), account_of(request)))


@endpoint(routes, "/v2/account/configurations", "GET")
async def get_configurations(request: Request) -> Response:
    """What the account may do."""
    return answer(account_of(request).configurations)


@endpoint(routes, "/v2/account/configurations", "PATCH")
async def patch_configurations(request: Request) -> Response:
    """Change what the account may do."""
    account, body = account_of(request), await json_body(request)
    known = account.configurations
    changes = {name: value for name, value in body.items() if name in known and value is not None}
    for name, value in changes.items():
        if type(value) is not type(known[name]) or value not in _CHOICES.get(name, (value,)):
            raise refused(f"invalid {name}: {str(value)[:40]!r}")
    account.configurations.update(changes)
    exchange_of(request).changed(account)
    return answer(account.configurations)


@endpoint(routes, "/v2/account/portfolio/history", "GET")
async def get_history(request: Request) -> Response:
    """Equity by day."""
    return answer(views.history_view(exchange_of(request), account_of(request), dict(request.query_params)))


@endpoint(routes, "/v2/account/activities", "GET")
async def get_activities(request: Request) -> Response:
    """Fills and bookings."""
    query = request.query_params
    kinds = {kind for kind in query.get("activity_types", "").split(",") if kind}
    return answer(_activities(request, kinds, query.get("category")))


@endpoint(routes, "/v2/account/activities/{kind}", "GET")
async def get_activities_of(request: Request) -> Response:
    """Fills or bookings of one kind."""
    return answer(_activities(request, {request.path_params["kind"]}, None))


def _activities(request: Request, kinds: set[str], category: str | None) -> list[dict[str, Any]]:
    exchange, account, query = exchange_of(request), account_of(request), request.query_params
    found = [one for one in account.activities if _wanted(one, kinds, category)]
    after, until, on = (query.get(name) for name in ("after", "until", "date"))
    try:
        if on:
            found = [one for one in found if local(one.at).date().isoformat() == on[:10]]
        if after:
            found = [one for one in found if one.at > parse_time(after)]
        if until:
            found = [one for one in found if one.at < parse_time(until, end_of_day=True)]
    except ValueError:
        raise refused("invalid after, until or date") from None
    if query.get("direction", "desc") != "asc":
        found.reverse()
    token = query.get("page_token")
    if token:
        ids = [one.id for one in found]
        found = found[ids.index(token) + 1 :] if token in ids else []
    page = [one.body for one in found[: whole(request, "page_size", MOST_ACTIVITIES, MOST_ACTIVITIES)]]
    twice = exchange.faults.standing("duplicate_fills") is not None
    return [body for body in page for _ in range(2 if twice and body["activity_type"] == "FILL" else 1)]


def _wanted(one: Activity, kinds: set[str], category: str | None) -> bool:
    kind = one.body["activity_type"]
    if category:
        return bool((kind == "FILL") == (category == "trade_activity"))
    return not kinds or kind in kinds


@endpoint(routes, "/v2/assets", "GET")
async def get_assets(request: Request) -> Response:
    """Every symbol with prices, as far as asked for."""
    exchange, query = exchange_of(request), request.query_params
    assets = [views.asset_view(exchange, symbol) for symbol in sorted(exchange.market.tables.symbols)]
    return answer([asset for asset in assets if _asked_for(asset, query)])


def _asked_for(asset: dict[str, Any], query: Mapping[str, str]) -> bool:
    attributes = {name for name in query.get("attributes", "").split(",") if name}
    return (
        query.get("status") in (None, "", "all", asset["status"])
        and query.get("asset_class") in (None, "", asset["class"])
        and query.get("exchange") in (None, "", asset["exchange"])
        and (not attributes or not attributes.isdisjoint(asset["attributes"]))
    )


@endpoint(routes, "/v2/assets/{symbol}", "GET")
async def get_asset(request: Request) -> Response:
    """One symbol, by name or id."""
    exchange = exchange_of(request)
    symbol = views.symbol_of(exchange, request.path_params["symbol"])
    if not exchange.market.has(symbol):
        raise not_found(f"asset not found for {symbol}")
    return answer(views.asset_view(exchange, symbol))


@endpoint(routes, "/v2/clock", "GET")
async def get_clock(request: Request) -> Response:
    """The time, and when the market opens and closes next."""
    exchange = exchange_of(request)
    now, hours = exchange.settled, exchange.hours
    skew = exchange.faults.standing("clock_skew")
    shown = now if skew is None else now + timedelta(seconds=skew.seconds)
    return answer(
        {
            "timestamp": local(shown).isoformat(),
            "is_open": hours.current(now) is not None,
            "next_open": local(hours.next_open(now).opens).isoformat(),
            "next_close": local(hours.next_close(now).closes).isoformat(),
        }
    )


@endpoint(routes, "/v2/calendar", "GET")
async def get_calendar(request: Request) -> Response:
    """Sessions with their hours in New York time."""
    exchange, query = exchange_of(request), request.query_params
    try:
        first = date.fromisoformat((query.get("start") or "1970-01-01")[:10])
        last = date.fromisoformat((query.get("end") or "2029-12-31")[:10])
    except ValueError:
        raise RefusedError(400, 40010000, "invalid start or end") from None
    return answer([_calendar_day(exchange, session) for session in exchange.hours.between(first, last)])


def _calendar_day(exchange: Exchange, session: Session) -> dict[str, str]:
    return {
        "date": session.day.isoformat(),
        "open": f"{local(session.opens):%H:%M}",
        "close": f"{local(session.closes):%H:%M}",
        "session_open": "0400",
        "session_close": "2000",
        "settlement_date": exchange.hours.settles(session.day).isoformat(),
    }
