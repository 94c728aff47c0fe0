"""Endpoints under `/sim` that no broker has: they steer time, faults, corporate actions, market rules and cash."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import Any

from fastapi import APIRouter, Request, Response

from mlops_cli.exchange.api.responses import answer, endpoint, exchange_of, json_body, state_of
from mlops_cli.exchange.book.activities import booking, plain
from mlops_cli.exchange.book.clock import target
from mlops_cli.exchange.book.corporate_actions import read_action
from mlops_cli.exchange.book.records import MarketRules, not_found, refused
from mlops_cli.exchange.book.state import State
from mlops_cli.market.hours import parse_time

routes = APIRouter()
MOST_CASH = 10**12


@endpoint(routes, "/sim/clock", "GET")
async def get_clock(request: Request) -> Response:
    """Show the time."""
    return answer(_time(state_of(request)))


@endpoint(routes, "/sim/clock", "POST")
async def post_clock(request: Request) -> Response:
    """Move time to `now` (ISO time), or to `to` (next_open, next_close), or on by `seconds`."""
    exchange, body = exchange_of(request), await json_body(request)
    state = exchange.state
    seconds = body.get("seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise refused("seconds must be a number")
    try:
        now = parse_time(str(body["now"])) if "now" in body else state.now
    except ValueError:
        raise refused(f"now must be an ISO time, not {str(body['now'])[:40]!r}") from None
    to = target(now, state.hours, body.get("to"), float(seconds))
    if to < state.now:  # the real time does not go back either
        raise refused(f"it is {state.now.isoformat()} at the exchange, and time does not go back")
    state.clock.advance(to)
    exchange.catch_up()
    return answer(_time(state))


def _time(state: State) -> dict[str, Any]:
    session = state.hours.current(state.now)
    return {
        "now": state.now.isoformat(),
        "replay": state.clock.standing is not None,
        "is_open": session is not None,
        "session": None if session is None else session.day.isoformat(),
    }


@endpoint(routes, "/sim/faults", "GET")
async def get_faults(request: Request) -> Response:
    """List the faults that are set, and how often each has struck."""
    return answer(state_of(request).faults.listed())


@endpoint(routes, "/sim/faults", "POST")
async def post_fault(request: Request) -> Response:
    """Set a fault. A body with `seed` alone only starts the random numbers again."""
    state, body = state_of(request), await json_body(request)
    seed = body.pop("seed", None)
    if seed is not None:
        if not isinstance(seed, int):
            raise refused("seed must be a whole number")
        state.faults.reseed(seed)
    if body:
        state.faults.add(body, state.now)
    return answer(state.faults.listed())


@endpoint(routes, "/sim/faults", "DELETE")
async def delete_faults(request: Request) -> Response:
    """Remove all faults, or those of one `kind`."""
    state_of(request).faults.clear(request.query_params.get("kind"))
    return answer(state_of(request).faults.listed())


@endpoint(routes, "/sim/market", "GET")
async def get_market(request: Request) -> Response:
    """Show the market's rules."""
    return answer(asdict(state_of(request).rules))


@endpoint(routes, "/sim/market", "POST")
async def post_market(request: Request) -> Response:
    """Change the market's rules."""
    state, body = state_of(request), await json_body(request)
    rules = asdict(state.rules)
    for name, value in body.items():
        if name not in rules or isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e4:
            raise refused(f"no such rule, or not a number from 0 to 10,000: {name}; rules are {', '.join(rules)}")
    state.rules = MarketRules(**{**rules, **body})
    return answer(asdict(state.rules))


@endpoint(routes, "/sim/corporate-actions", "POST")
async def post_action(request: Request) -> Response:
    """Announce a split, a dividend or a delisting. It happens before the opening of its day, or of the next session."""
    state, body = state_of(request), await json_body(request)
    action = read_action(body)
    if not state.market.has(action.symbol):
        raise not_found(f"asset not found for {action.symbol}")
    state.actions.append(action)
    return answer(body)


@endpoint(routes, "/sim/accounts", "GET")
async def get_accounts(request: Request) -> Response:
    """List all accounts by key."""
    accounts = state_of(request).accounts.values()
    return answer([{"key": account.key, "id": account.id, "cash": plain(account.cash)} for account in accounts])


@endpoint(routes, "/sim/accounts", "POST")
async def post_account(request: Request) -> Response:
    """Set the cash of the account of `key` to `cash`, which may be negative."""
    state, body = state_of(request), await json_body(request)
    account = state.accounts.get(str(body.get("key")))
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
    state.add_activity(account, booking(account, "JNLC", state.now, change))
    return answer({"key": account.key, "cash": plain(cash)})
