"""Endpoints under `/sim`: what no broker offers. Time, faults, corporate actions, the market's rules, cash."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

from fastapi import APIRouter, Request, Response

from mlops_cli.exchange.api.responses import answer, endpoint, exchange_of, json_body
from mlops_cli.exchange.book.activities import booking, plain
from mlops_cli.exchange.book.clock import target
from mlops_cli.exchange.book.corporate_actions import read_action
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import Rules, not_found, refused
from mlops_cli.market.hours import parse_time

routes = APIRouter()
MOST_CASH = 10**12


@endpoint(routes, "/sim/clock", "GET")
async def get_clock(request: Request) -> Response:
    """The time."""
    return answer(_time(exchange_of(request)))


@endpoint(routes, "/sim/clock", "POST")
async def post_clock(request: Request) -> Response:
    """Move time on: `now` (ISO time), or `to` next_open or next_close, or `seconds`; everything due happens."""
    exchange, body = exchange_of(request), await json_body(request)
    seconds = body.get("seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise refused("seconds must be a number")
    try:
        now = parse_time(str(body["now"])) if "now" in body else exchange.settled
    except ValueError:
        raise refused(f"now must be an ISO time, not {str(body['now'])[:40]!r}") from None
    to = target(now, exchange.hours, body.get("to"), float(seconds))
    if to < exchange.settled:  # of real time, too
        raise refused(f"the exchange has lived until {exchange.settled.isoformat()} and time does not go back")
    exchange.clock.advance(to)
    exchange.settle()
    return answer(_time(exchange))


def _time(exchange: Exchange) -> dict[str, Any]:
    session = exchange.hours.current(exchange.settled)
    return {
        "now": exchange.settled.isoformat(),
        "replay": exchange.clock.standing is not None,
        "is_open": session is not None,
        "session": None if session is None else session.day.isoformat(),
    }


@endpoint(routes, "/sim/faults", "GET")
async def get_faults(request: Request) -> Response:
    """What is set, and how often it struck."""
    return answer(exchange_of(request).faults.listed())


@endpoint(routes, "/sim/faults", "POST")
async def post_fault(request: Request) -> Response:
    """Set a fault; `seed` alone begins the random numbers again."""
    exchange, body = exchange_of(request), await json_body(request)
    seed = body.pop("seed", None)
    if seed is not None:
        if not isinstance(seed, int):
            raise refused("seed must be a whole number")
        exchange.faults.reseed(seed)
    if body:
        exchange.faults.add(body, exchange.settled)
    return answer(exchange.faults.listed())


@endpoint(routes, "/sim/faults", "DELETE")
async def delete_faults(request: Request) -> Response:
    """Take faults away, all or those of one `kind`."""
    exchange_of(request).faults.clear(request.query_params.get("kind"))
    return answer(exchange_of(request).faults.listed())


@endpoint(routes, "/sim/market", "GET")
async def get_market(request: Request) -> Response:
    """The market's rules."""
    return answer(asdict(exchange_of(request).rules))


@endpoint(routes, "/sim/market", "POST")
async def post_market(request: Request) -> Response:
    """Change the market's rules."""
    exchange, body = exchange_of(request), await json_body(request)
    rules = asdict(exchange.rules)
    for name, value in body.items():
        if name not in rules or isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e4:
            raise refused(f"no such rule, or not a number from 0 to 10,000: {name}; rules are {', '.join(rules)}")
    exchange.rules = Rules(**{**rules, **body})
    return answer(asdict(exchange.rules))


@endpoint(routes, "/sim/corporate-actions", "POST")
async def post_action(request: Request) -> Response:
    """Announce a split, a dividend or a delisting: it happens before the opening of its day, or the next one."""
    exchange, body = exchange_of(request), await json_body(request)
    action = read_action(body)
    if not exchange.market.has(action.symbol):
        raise not_found(f"asset not found for {action.symbol}")
    exchange.actions.append(action)
    return answer(body)


@endpoint(routes, "/sim/accounts", "GET")
async def get_accounts(request: Request) -> Response:
    """Every account, by its key."""
    accounts = exchange_of(request).accounts.values()
    return answer([{"key": account.key, "id": account.id, "cash": plain(account.cash)} for account in accounts])


@endpoint(routes, "/sim/accounts", "POST")
async def post_account(request: Request) -> Response:
    """Pay in or out: give the account of `key` this `cash` (may be negative)."""
    exchange, body = exchange_of(request), await json_body(request)
    account = exchange.accounts.get(str(body.get("key")))
    if account is None:
        raise not_found("no account has this key yet: its first request opens it")
    try:
        cash = Decimal(str(body["cash"]))
    except (KeyError, InvalidOperation):
        raise refused("cash must be an amount in USD") from None
    if not cash.is_finite() or abs(cash) > MOST_CASH:
        raise refused("cash must be an amount in USD")
    change = cash - account.cash
    account.cash = cash
    if not account.equity:
        account.base_value += change
    exchange.record(account, booking(account, "JNLC", exchange.settled, change))
    return answer({"key": account.key, "cash": plain(cash)})
