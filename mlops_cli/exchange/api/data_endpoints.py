"""Endpoints of Alpaca's market data API v2 for stocks."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response

from mlops_cli.exchange.api.bars import Chart, TimeSpan, read_timeframe
from mlops_cli.exchange.api.queries import whole_number
from mlops_cli.exchange.api.responses import answer, endpoint, state_of
from mlops_cli.exchange.book.activities import timestamp
from mlops_cli.exchange.book.records import RefusedError
from mlops_cli.exchange.book.state import State
from mlops_cli.market.hours import in_new_york, midnight, parse_time

routes = APIRouter()
MOST_BARS = 10_000
_VENUE, _TAPE = "V", "C"
_INSTANT = timedelta(microseconds=1)
View = Callable[[State, str], dict[str, Any] | None]


class PageToken(NamedTuple):
    """The last bar of a page (its symbol and time), and the time from which on bars were asked for.

    A token that counts bars would become wrong as time moves and tables grow.
    """

    symbol: str
    at: datetime
    start: datetime

    def text(self) -> str:
        """The token as clients see it."""
        return base64.urlsafe_b64encode(
            f"{self.symbol}|{self.at:%Y-%m-%dT%H:%M:%SZ}|{self.start.isoformat()}".encode()
        ).decode()

    @classmethod
    def read(cls, text: str) -> PageToken:
        """Read a token that a client sends back; a `ValueError` if it is none of ours."""
        symbol, at, start = base64.b64decode(text, b"-_", validate=True).decode().split("|")
        return cls(symbol, parse_time(at), parse_time(start))


class SymbolBar(NamedTuple):
    """A bar in the schema `stock_bar`, and its symbol."""

    symbol: str
    bar: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the bars that were asked for, and the token of the next part; None on the last page."""

    bars: list[SymbolBar]
    token: str | None


@endpoint(routes, "/v2/stocks/bars", "GET")
async def get_bars(request: Request) -> Response:
    """List bars of several symbols."""
    page = read_page(state_of(request), request.query_params, _symbols(request))
    by_symbol: dict[str, list[Any]] = {}
    for symbol, bar in page.bars:
        by_symbol.setdefault(symbol, []).append(bar)
    return answer({"bars": by_symbol, "next_page_token": page.token})


@endpoint(routes, "/v2/stocks/{symbol}/bars", "GET")
async def get_bars_of(request: Request) -> Response:
    """List bars of one symbol."""
    symbol = request.path_params["symbol"].upper()
    symbols = [symbol] if state_of(request).market.has(symbol) else []
    page = read_page(state_of(request), request.query_params, symbols)
    return answer({"symbol": symbol, "bars": [bar for _, bar in page.bars], "next_page_token": page.token})


def read_page(state: State, query: Mapping[str, str], symbols: list[str]) -> Page:
    """The bars of one page, by symbol and then by time; a `RefusedError` for a wrong query. Symbols must be rising."""
    timeframe = read_timeframe(query.get("timeframe", "1Day"))
    try:
        token = PageToken.read(query["page_token"]) if query.get("page_token") else None
        span = _span(query, state.now, token)
    except ValueError:
        raise _invalid("invalid start, end or page_token") from None
    limit = whole_number(query, "limit", 1000, MOST_BARS, _invalid)
    newest_first, split = query.get("sort") == "desc", query.get("adjustment", "raw") != "raw"

    def rest() -> Iterator[SymbolBar]:
        for symbol in symbols:
            left = span if token is None else _left(symbol, span, token, newest_first)
            if left is not None:
                chart = Chart(state.market, symbol, state.now, split)
                for bar in chart.bars(timeframe, left, newest_first=newest_first):
                    yield SymbolBar(symbol, bar)

    page = list(islice(rest(), limit + 1))  # no more bars are computed than are shown, and one to see whether it ends
    if len(page) <= limit:
        return Page(page, None)
    last = page[limit - 1]
    return Page(page[:limit], PageToken(last.symbol, parse_time(last.bar["t"]), span.start).text())


def _span(query: Mapping[str, str], now: datetime, token: PageToken | None) -> TimeSpan:
    start = parse_time(query["start"]) if query.get("start") else midnight(in_new_york(now).date())
    end = parse_time(query["end"], end_of_day=True) if query.get("end") else now
    return TimeSpan(start if token is None else token.start, min(now, end))


def _left(symbol: str, span: TimeSpan, token: PageToken, newest_first: bool) -> TimeSpan | None:
    """The part of the span that earlier pages have not shown for a symbol; None if they have shown all."""
    if symbol != token.symbol:
        return span if symbol > token.symbol else None
    if newest_first:
        return TimeSpan(span.start, min(span.end, token.at - _INSTANT))
    return TimeSpan(token.at + _INSTANT, span.end)


def _invalid(message: str) -> RefusedError:
    return RefusedError(400, 40010000, message)


def _symbols(request: Request) -> list[str]:
    """The symbols of the query that the market has. Others are left out silently, as Alpaca does."""
    asked = [symbol.strip().upper() for symbol in request.query_params.get("symbols", "").split(",")]
    if not any(asked):
        raise _invalid("symbols is required")
    market = state_of(request).market
    return sorted({symbol for symbol in asked if market.has(symbol)})


def _latest_bar(state: State, symbol: str) -> dict[str, Any] | None:
    """The bar of the last minute."""
    last = state.market.price(symbol, state.now)
    if last is None:
        return None
    price, at = round(last.price, 4), last.at.replace(second=0, microsecond=0)
    return {"t": timestamp(at), "o": price, "h": price, "l": price, "c": price, "v": 0, "n": 0, "vw": price}


def _latest_quote(state: State, symbol: str) -> dict[str, Any] | None:
    quote = state.quote(symbol)
    if quote is None:
        return None
    prices = {"bp": round(quote.bid, 4), "bs": 1, "bx": _VENUE, "ap": round(quote.ask, 4), "as": 1, "ax": _VENUE}
    return {"t": timestamp(quote.at), **prices, "c": ["R"], "z": _TAPE}


def _latest_trade(state: State, symbol: str) -> dict[str, Any] | None:
    last = state.market.price(symbol, state.now)
    if last is None:
        return None
    number, price = int(last.at.timestamp()), round(last.price, 4)
    return {"t": timestamp(last.at), "i": number, "x": _VENUE, "p": price, "s": 100, "c": ["@"], "z": _TAPE}


def _snapshot(state: State, symbol: str) -> dict[str, Any] | None:
    parts = {
        "latestTrade": _latest_trade(state, symbol),
        "latestQuote": _latest_quote(state, symbol),
        "minuteBar": _latest_bar(state, symbol),
    }
    if parts["latestTrade"] is None:
        return None
    recent = state.hours.sessions[max(0, state.hours.count_opened(state.now) - 5)]
    span = TimeSpan(midnight(recent.day), state.now)
    days = list(Chart(state.market, symbol, state.now, False).bars(read_timeframe("1Day"), span))
    parts |= dict(zip(("dailyBar", "prevDailyBar"), reversed(days[-2:]), strict=False))
    return parts


def _offer(name: str, plural: str, view: View, path: str) -> None:
    """Register two endpoints that show the latest of something: one for several symbols, one for a single symbol."""

    async def several(request: Request) -> Response:
        state = state_of(request)
        views = {symbol: view(state, symbol) for symbol in _symbols(request)}
        shown = {symbol: body for symbol, body in views.items() if body is not None}
        return answer(shown if plural == "" else {plural: shown})

    async def single(request: Request) -> Response:
        state, symbol = state_of(request), request.path_params["symbol"].upper()
        body = view(state, symbol) if state.market.has(symbol) else None
        if body is None:
            raise RefusedError(404, 40410000, f"no {name} found for {symbol}")
        return answer({"symbol": symbol, **(body if plural == "" else {name: body})})

    endpoint(routes, f"/v2/stocks/{path}", "GET")(several)
    endpoint(routes, f"/v2/stocks/{{symbol}}/{path.removesuffix('s') if plural == '' else path}", "GET")(single)


_offer("bar", "bars", _latest_bar, "bars/latest")
_offer("quote", "quotes", _latest_quote, "quotes/latest")
_offer("trade", "trades", _latest_trade, "trades/latest")
_offer("snapshot", "", _snapshot, "snapshots")
