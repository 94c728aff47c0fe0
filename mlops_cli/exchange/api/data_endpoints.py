"""Endpoints of Alpaca's market data API v2, for stocks."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response

from mlops_cli.exchange.api.bars import Chart, Timeframe, bars, read_timeframe
from mlops_cli.exchange.api.responses import answer, endpoint, exchange_of, whole
from mlops_cli.exchange.book.activities import stamp
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.records import RefusedError
from mlops_cli.market.hours import local, midnight, parse_time

routes = APIRouter()
MOST_BARS = 10_000
_VENUE, _TAPE = "V", "C"
_INSTANT = timedelta(microseconds=1)
View = Callable[[Exchange, str], dict[str, Any] | None]


class _Shown(NamedTuple):
    """Up to where bars were shown: the last one's symbol and time; and from when on they were asked for."""

    symbol: str
    at: datetime
    start: datetime


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
    """Bars by symbol, then time, after the one that the token names; no more of them are made than are shown."""
    query = request.query_params
    timeframe = read_timeframe(query.get("timeframe", "1Day"))
    try:
        shown = _read_token(query["page_token"]) if query.get("page_token") else None
        span = _span(query, exchange_of(request).settled, shown)
    except ValueError:
        raise _invalid("invalid start, end or page_token") from None
    limit = whole(request, "limit", 1000, MOST_BARS, _invalid)
    page = list(islice(_following(request, symbols, timeframe, span, shown), limit + 1))
    token = _token(*page[limit - 1], span[0]) if len(page) > limit else None
    return page[:limit], token


def _span(query: Mapping[str, str], now: datetime, shown: _Shown | None) -> tuple[datetime, datetime]:
    start = parse_time(query["start"]) if query.get("start") else midnight(local(now).date())
    end = parse_time(query["end"], end_of_day=True) if query.get("end") else now
    return start if shown is None else shown.start, min(now, end)


def _following(
    request: Request,
    symbols: list[str],
    timeframe: Timeframe,
    span: tuple[datetime, datetime],
    shown: _Shown | None,
) -> Iterator[tuple[str, Any]]:
    exchange, query = exchange_of(request), request.query_params
    newest_first, split = query.get("sort") == "desc", query.get("adjustment", "raw") != "raw"
    for symbol in symbols:
        if shown is not None and symbol < shown.symbol:
            continue
        start, end = span
        if shown is not None and symbol == shown.symbol:
            start, end = (start, min(end, shown.at - _INSTANT)) if newest_first else (shown.at + _INSTANT, end)
        chart = Chart(exchange.market, symbol, exchange.settled, split)
        for bar in chart.bars(timeframe, (start, end), newest_first=newest_first):
            yield symbol, bar


def _token(symbol: str, bar: dict[str, Any], start: datetime) -> str:
    """Of the last bar shown: it still tells where to go on when time has moved, and tables have grown."""
    return base64.urlsafe_b64encode(f"{symbol}|{bar['t']}|{start.isoformat()}".encode()).decode()


def _read_token(text: str) -> _Shown:
    symbol, at, start = base64.b64decode(text, b"-_", validate=True).decode().split("|")
    return _Shown(symbol, parse_time(at), parse_time(start))


def _invalid(message: str) -> RefusedError:
    return RefusedError(400, 40010000, message)


def _symbols(request: Request) -> list[str]:
    """Those asked for that there are; Alpaca passes over others in silence, too."""
    asked = [symbol.strip().upper() for symbol in request.query_params.get("symbols", "").split(",")]
    if not any(asked):
        raise _invalid("symbols is required")
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
