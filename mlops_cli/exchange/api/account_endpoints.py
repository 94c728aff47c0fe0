"""Endpoints of Alpaca's trading API v2 for the account, its history, assets, the clock and the calendar."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response

from mlops_cli.exchange.api import views
from mlops_cli.exchange.api.history import history_view
from mlops_cli.exchange.api.queries import select_activities, words
from mlops_cli.exchange.api.responses import account_of, answer, endpoint, json_body, state_of
from mlops_cli.exchange.book.records import RefusedError, not_found, refused
from mlops_cli.market.hours import Hours, Session, in_new_york

routes = APIRouter()
_CHECKS = ("both", "entry", "exit")
_CHOICES: dict[str, tuple[Any, ...]] = {
    "dtbp_check": _CHECKS,
    "max_margin_multiplier": ("1", "2", "4"),
    "max_options_trading_level": (0, 1, 2, 3),
    "pdt_check": _CHECKS,
    "trade_confirm_email": ("all", "none"),
}
"""The values that configurations may have which are no booleans."""


@endpoint(routes, "/v2/account", "GET")
async def get_account(request: Request) -> Response:
    """Show the account."""
    return answer(views.account_view(state_of(request), account_of(request)))


@endpoint(routes, "/v2/account/configurations", "GET")
async def get_configurations(request: Request) -> Response:
    """Show what the account is allowed to do."""
    return answer(account_of(request).configurations)


@endpoint(routes, "/v2/account/configurations", "PATCH")
async def patch_configurations(request: Request) -> Response:
    """Change what the account is allowed to do."""
    account = account_of(request)
    changes = configuration_changes(account.configurations, await json_body(request))
    account.configurations.update(changes)
    state_of(request).changed(account)
    return answer(account.configurations)


def configuration_changes(configurations: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a body that change configurations; a `RefusedError` for a value that is not allowed.

    Unknown members, and members that are null, change nothing.
    """
    changes = {name: value for name, value in body.items() if name in configurations and value is not None}
    for name, value in changes.items():
        if type(value) is not type(configurations[name]) or value not in _CHOICES.get(name, (value,)):
            raise refused(f"invalid {name}: {str(value)[:40]!r}")
    return changes


@endpoint(routes, "/v2/account/portfolio/history", "GET")
async def get_history(request: Request) -> Response:
    """Show the equity by day."""
    return answer(history_view(state_of(request), account_of(request), request.query_params))


@endpoint(routes, "/v2/account/activities", "GET")
async def get_activities(request: Request) -> Response:
    """List fills and bookings."""
    return answer(_activities(request))


@endpoint(routes, "/v2/account/activities/{kind}", "GET")
async def get_activities_of(request: Request) -> Response:
    """List fills, or bookings of one kind."""
    return answer(_activities(request, request.path_params["kind"]))


def _activities(request: Request, kind: str | None = None) -> list[dict[str, Any]]:
    page = [activity.body for activity in select_activities(account_of(request).activities, request.query_params, kind)]
    twice = state_of(request).faults.standing("duplicate_fills") is not None
    return [body for body in page for _ in range(2 if twice and body["activity_type"] == "FILL" else 1)]


@endpoint(routes, "/v2/assets", "GET")
async def get_assets(request: Request) -> Response:
    """List the symbols that have prices and fit the query."""
    state, query = state_of(request), request.query_params
    assets = [views.asset_view(state, symbol) for symbol in sorted(state.market.symbols)]
    return answer([asset for asset in assets if fits_asset_query(asset, query)])


def fits_asset_query(asset: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    """Whether an asset has the status, class, exchange and one of the attributes that a query asks for."""
    attributes = words(query, "attributes")
    return (
        query.get("status") in (None, "", "all", asset["status"])
        and query.get("asset_class") in (None, "", asset["class"])
        and query.get("exchange") in (None, "", asset["exchange"])
        and (not attributes or not attributes.isdisjoint(asset["attributes"]))
    )


@endpoint(routes, "/v2/assets/{symbol}", "GET")
async def get_asset(request: Request) -> Response:
    """Show a symbol, by its name or its asset id."""
    state = state_of(request)
    symbol = views.find_symbol(state, request.path_params["symbol"])
    if not state.market.has(symbol):
        raise not_found(f"asset not found for {symbol}")
    return answer(views.asset_view(state, symbol))


@endpoint(routes, "/v2/clock", "GET")
async def get_clock(request: Request) -> Response:
    """Show the time, and when the market opens and closes next."""
    state = state_of(request)
    now, hours = state.now, state.hours
    skew = state.faults.standing("clock_skew")
    shown = now if skew is None else now + timedelta(seconds=skew.seconds)
    return answer(
        {
            "timestamp": in_new_york(shown).isoformat(),
            "is_open": hours.current(now) is not None,
            "next_open": in_new_york(hours.next_open(now).opens).isoformat(),
            "next_close": in_new_york(hours.next_close(now).closes).isoformat(),
        }
    )


@endpoint(routes, "/v2/calendar", "GET")
async def get_calendar(request: Request) -> Response:
    """List sessions with their hours in New York time."""
    hours, query = state_of(request).hours, request.query_params
    try:
        first = date.fromisoformat((query.get("start") or "1970-01-01")[:10])
        last = date.fromisoformat((query.get("end") or "2029-12-31")[:10])
    except ValueError:
        raise RefusedError(400, 40010000, "invalid start or end") from None
    return answer([_calendar_day(hours, session) for session in hours.between(first, last)])


def _calendar_day(hours: Hours, session: Session) -> dict[str, str]:
    return {
        "date": session.day.isoformat(),
        "open": f"{in_new_york(session.opens):%H:%M}",
        "close": f"{in_new_york(session.closes):%H:%M}",
        "session_open": "0400",
        "session_close": "2000",
        "settlement_date": hours.settlement_day(session.day).isoformat(),
    }
