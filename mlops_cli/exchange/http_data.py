"""Endpoints of Alpaca's market data API v2, for stocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from mlops_cli.exchange.activities import stamp
from mlops_cli.exchange.bars import bars, read_timeframe
from mlops_cli.exchange.engine import Exchange
from mlops_cli.exchange.hours import local, midnight, parse_time
from mlops_cli.exchange.http_answers import answer, endpoint, exchange_of, whole
from mlops_cli.exchange.model import RefusedError

routes = APIRouter()
MOST_BARS = 10_000
_VENUE, _TAPE = "V", "C"
View = Callable[[Exchange, str], dict[str, Any] | None]


@endpoint(routes, "/v2/stocks/bars", "GET")
async def get_bars(request: Request) -> Response:
    """Bars of several symbols."""
    page, token = _page(request, _symbols(request))
    found: dict[str, list[Any]] = {}
    for symbol, bar in page:
        found.setdefault(symbol, []).append(bar)
    return answer({"bars": found, "next_page_token": token})


@endpoint(routes, "/v2/stocks/{symbol}/bars", "GET")
async def get_bars_of(request: Request) -> Response:
    """Bars of one symbol."""
    symbol = request.path_params["symbol"].upper()
    page, token = _page(request, [symbol] if exchange_of(request).market.has(symbol) else [])
    return answer({"symbol": symbol, "bars": [bar for _, bar in page], "next_page_token": token})


def _page(request: Request, symbols: list[str]) -> tuple[list[tuple[str, Any]], str | None]:
    exchange, query = exchange_of(request), request.query_params
    now = exchange.settled
    timeframe = read_timeframe(query.get("timeframe", "1Day"))
    try:
        start = parse_time(query["start"]) if query.get("start") else midnight(local(now).date())
        end = min(now, parse_time(query["end"], end_of_day=True)) if query.get("end") else now
        skipped = int(query.get("page_token") or 0)
    except ValueError:
        raise RefusedError(400, 40010000, "invalid start, end or page_token") from None
    split = query.get("adjustment", "raw") != "raw"
    found = []
    for symbol in symbols:
        each = bars(exchange.market, symbol, timeframe, (start, end), split)
        found += [(symbol, bar) for bar in (reversed(each) if query.get("sort") == "desc" else each)]
    limit = whole(request, "limit", 1000, MOST_BARS)
    more = skipped + limit < len(found)
    return found[skipped : skipped + limit], str(skipped + limit) if more else None


def _symbols(request: Request) -> list[str]:
    """Those asked for that there are; Alpaca passes over others in silence, too."""
    asked = [symbol.strip().upper() for symbol in request.query_params.get("symbols", "").split(",")]
    if not any(asked):
        raise RefusedError(400, 40010000, "symbols is required")
    market = exchange_of(request).market
    return sorted({symbol for symbol in asked if market.has(symbol)})


def _latest_bar(exchange: Exchange, symbol: str) -> dict[str, Any] | None:
    """The last minute's."""
    last = exchange.market.price(symbol, exchange.settled)
    if last is None:
        return None
    price, at = round(last[0], 4), last[1].replace(second=0, microsecond=0)
    return {"t": stamp(at), "o": price, "h": price, "l": price, "c": price, "v": 0, "n": 0, "vw": price}


def _latest_quote(exchange: Exchange, symbol: str) -> dict[str, Any] | None:
    quote = exchange.quote(symbol)
    if quote is None:
        return None
    bid, ask, at = quote
    prices = {"bp": round(bid, 4), "bs": 1, "bx": _VENUE, "ap": round(ask, 4), "as": 1, "ax": _VENUE}
    return {"t": stamp(at), **prices, "c": ["R"], "z": _TAPE}


def _latest_trade(exchange: Exchange, symbol: str) -> dict[str, Any] | None:
    last = exchange.market.price(symbol, exchange.settled)
    if last is None:
        return None
    number = int(last[1].timestamp())
    return {"t": stamp(last[1]), "i": number, "x": _VENUE, "p": round(last[0], 4), "s": 100, "c": ["@"], "z": _TAPE}


def _snapshot(exchange: Exchange, symbol: str) -> dict[str, Any] | None:
    parts = {
        "latestTrade": _latest_trade(exchange, symbol),
        "latestQuote": _latest_quote(exchange, symbol),
        "minuteBar": _latest_bar(exchange, symbol),
    }
    if parts["latestTrade"] is None:
        return None
    recent = exchange.hours.sessions[max(0, exchange.hours.begun(exchange.settled) - 5)]
    days = bars(exchange.market, symbol, read_timeframe("1Day"), (midnight(recent.day), exchange.settled), False)
    parts |= dict(zip(("dailyBar", "prevDailyBar"), reversed(days[-2:]), strict=False))
    return parts


def _offer(name: str, plural: str, view: View, path: str) -> None:
    """Offer the newest of something, for several symbols and for one."""

    async def several(request: Request) -> Response:
        exchange = exchange_of(request)
        found = {symbol: view(exchange, symbol) for symbol in _symbols(request)}
        shown = {symbol: one for symbol, one in found.items() if one is not None}
        return answer(shown if plural == "" else {plural: shown})

    async def single(request: Request) -> Response:
        exchange, symbol = exchange_of(request), request.path_params["symbol"].upper()
        one = view(exchange, symbol) if exchange.market.has(symbol) else None
        if one is None:
            raise RefusedError(404, 40410000, f"no {name} found for {symbol}")
        return answer({"symbol": symbol, **(one if plural == "" else {name: one})})

    endpoint(routes, f"/v2/stocks/{path}", "GET")(several)
    endpoint(routes, f"/v2/stocks/{{symbol}}/{path.removesuffix('s') if plural == '' else path}", "GET")(single)


_offer("bar", "bars", _latest_bar, "bars/latest")
_offer("quote", "quotes", _latest_quote, "quotes/latest")
_offer("trade", "trades", _latest_trade, "trades/latest")
_offer("snapshot", "", _snapshot, "snapshots")
