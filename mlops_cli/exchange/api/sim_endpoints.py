"""Endpoints under `/sim` that no broker has.

They control time, faults, corporate actions, the market's rules, and what the broker allows in an asset or an account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Request, Response

from mlops_cli.exchange.api.action_requests import action_view, read_action
from mlops_cli.exchange.api.responses import answer, endpoint, exchange_of, json_body, state_of
from mlops_cli.exchange.book.activities import booking, plain
from mlops_cli.exchange.book.clock import target
from mlops_cli.exchange.book.corporate_actions import announce
from mlops_cli.exchange.book.records import Account, AssetFlags, MarketRules, not_found, refused
from mlops_cli.exchange.book.state import State
from mlops_cli.market.hours import parse_time

routes = APIRouter()
MOST_CASH = 10**12
BLOCKS = ("trading_blocked", "account_blocked", "transfers_blocked")
_CASH = re.compile(r"[+-]?\d{1,20}(\.\d{0,20})?([eE][+-]?\d{1,2})?", re.ASCII)


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


@endpoint(routes, "/sim/corporate-actions", "GET")
async def get_actions(request: Request) -> Response:
    """List the corporate actions that are still to come."""
    return answer([action_view(action) for action in state_of(request).actions])


@endpoint(routes, "/sim/corporate-actions", "POST")
async def post_action(request: Request) -> Response:
    """Announce a corporate action. It happens before the opening of its day, or of the next session."""
    action = read_action(await json_body(request))
    announce(state_of(request), action)
    return answer(action_view(action))


@endpoint(routes, "/sim/assets", "GET")
async def get_assets(request: Request) -> Response:
    """List the symbols in which the broker does not allow everything."""
    return answer([{"symbol": symbol, **asdict(flags)} for symbol, flags in sorted(state_of(request).assets.items())])


@endpoint(routes, "/sim/assets", "POST")
async def post_asset(request: Request) -> Response:
    """Change what the broker allows in `symbol`: `tradable`, `shortable`, `easy_to_borrow`, `fractionable`."""
    state, body = state_of(request), await json_body(request)
    symbol = body.pop("symbol", None)
    if not isinstance(symbol, str) or not state.market.has(symbol):
        raise not_found(f"asset not found for {str(symbol)[:40]}")
    flags = replace(state.asset(symbol), **_flags(body, [field.name for field in fields(AssetFlags)]))
    state.assets[symbol] = flags
    if flags == AssetFlags():
        del state.assets[symbol]
    return answer({"symbol": symbol, **asdict(flags)})


@endpoint(routes, "/sim/accounts", "GET")
async def get_accounts(request: Request) -> Response:
    """List all accounts by key."""
    accounts = state_of(request).accounts.values()
    return answer([_account_view(account) for account in accounts])


@endpoint(routes, "/sim/accounts", "POST")
async def post_account(request: Request) -> Response:
    """Set the cash of the account of `key` to `cash`, which may be negative, and what is blocked of it."""
    state, body = state_of(request), await json_body(request)
    account = state.accounts.get(str(body.pop("key", "")))
    if account is None:
        raise not_found("no account has this key yet: its first request opens it")
    cash = _read_cash(body.pop("cash")) if "cash" in body else None
    flags = _flags(body, BLOCKS)
    if cash is None and not flags:
        raise refused(f"cash must be an amount in USD, or one of {', '.join(BLOCKS)} true or false")
    for name, value in flags.items():
        setattr(account, name, value)
    if cash is not None:
        _set_cash(state, account, cash)
    state.changed(account)
    return answer(_account_view(account))


def _account_view(account: Account) -> dict[str, Any]:
    blocks = {name: getattr(account, name) for name in BLOCKS}
    return {"key": account.key, "id": account.id, "cash": plain(account.cash), **blocks}


def _flags(body: Mapping[str, Any], names: Sequence[str]) -> dict[str, bool]:
    """The members of a body, which must be among `names`, and true or false."""
    for name, value in body.items():
        if name not in names or not isinstance(value, bool):
            raise refused(f"invalid {name[:40]}: {', '.join(names)} are true or false")
    return dict(body)


def _read_cash(given: Any) -> Decimal:
    """An amount in USD. Its digits are counted first: Decimal writes 1e-999999999 with a billion of them."""
    text = str(given)
    if not _CASH.fullmatch(text) or abs(Decimal(text)) > MOST_CASH:
        raise refused("cash must be an amount in USD")
    return Decimal(text).quantize(Decimal("1e-9"))


def _set_cash(state: State, account: Account, cash: Decimal) -> None:
    change = cash - account.cash
    account.cash = cash
    if not account.equity:
        account.base_value += change
    state.add_activity(account, booking(account, "JNLC", state.now, change))
