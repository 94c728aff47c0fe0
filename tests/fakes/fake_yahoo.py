"""Yahoo's chart API on loopback: a real HTTP server that the real yfinance talks to.

Answers `/v8/finance/chart/{ticker}` and the calendar of `/v10/finance/quoteSummary/{ticker}` in the shape of recorded
answers, cookies and crumbs as far as yfinance asks for
them, and every trouble the real one makes: 429, 5xx, silence, unknown tickers, restated histories, pages of HTML.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pandas as pd

CHART = "/v8/finance/chart/"
CALENDAR = "/v10/finance/quoteSummary/"
SESSION_OPENS = pd.Timedelta(hours=9, minutes=30)
VALID_RANGES = ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"]


def generated_bars(sessions: pd.DatetimeIndex, seed: int = 1, price: float = 100.0) -> pd.DataFrame:
    """A plausible random walk: columns `open high low close adj_close volume`, consistent bars."""
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.01, len(sessions))))
    open_ = close * np.exp(rng.normal(0, 0.004, len(sessions)))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.004, len(sessions))))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.004, len(sessions))))
    volume = rng.integers(1_000_000, 2_000_000, len(sessions)).astype("float64")
    columns = {"open": open_, "high": high, "low": low, "close": close, "adj_close": close, "volume": volume}
    return pd.DataFrame(columns, index=sessions)


@dataclass
class ChartRequest:
    """One request for prices as the server saw it; days in exchange time, `end` not included."""

    ticker: str
    start: pd.Timestamp
    end: pd.Timestamp
    status: int


@dataclass
class Listing:
    """What the server knows of one ticker."""

    bars: pd.DataFrame
    timezone: str = "America/New_York"
    splits: dict[pd.Timestamp, tuple[float, float]] = field(default_factory=dict)
    dividends: dict[pd.Timestamp, float] = field(default_factory=dict)
    first_trade: pd.Timestamp | None = None


class FakeYahoo:
    """The server; use as a context manager. Thread-safe enough for tests: set it up before it is asked."""

    def __init__(self) -> None:
        self.listings: dict[str, Listing] = {}
        self.recorded: dict[str, dict[str, Any]] = {}
        self.requests: list[ChartRequest] = []
        self.other_paths: list[str] = []
        self.calendars: dict[str, float | int | str | None] = {}
        """By ticker: the time stamp of the coming ex-date, None for none, or a text that is sent as it is."""
        self.calendar_status = 200
        self.calendar_requests: list[str] = []
        self._troubles: dict[str, list[int | str]] = {}
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.yahoo = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeYahoo:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def list(self, ticker: str, bars: pd.DataFrame, **more: Any) -> Listing:
        self.listings[ticker] = Listing(bars, **more)
        return self.listings[ticker]

    def trouble(self, ticker: str, *answers: int | str) -> None:
        """The next answers for a ticker: a status code, "hang", or a text sent with status 200. Then it works again."""
        self._troubles[ticker] = list(answers)

    def restate(self, ticker: str, day: pd.Timestamp, ratio: int) -> None:
        """A split of ratio:1: the price falls on the day, and Yahoo divides the history by it overnight."""
        listing = self.listings[ticker]
        listing.bars[["open", "high", "low", "close", "adj_close"]] /= ratio
        listing.bars["volume"] *= ratio
        listing.splits[day] = (float(ratio), 1.0)

    def asked(self, ticker: str) -> list[ChartRequest]:
        return [request for request in self.requests if request.ticker == ticker]

    def answer(self, path: str) -> tuple[int, str, str]:
        """Status, content type and body for a request path; kept apart from HTTP."""
        parts = urlsplit(path)
        if parts.path.startswith(CALENDAR):
            return self._calendar(unquote(parts.path.removeprefix(CALENDAR)))
        if not parts.path.startswith(CHART):
            self.other_paths.append(parts.path)
            return (
                (200, "text/plain", "fake.crumb") if parts.path.endswith("getcrumb") else (404, "text/html", "<html>")
            )
        ticker = unquote(parts.path.removeprefix(CHART))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self._lock:
            trouble = self._troubles[ticker].pop(0) if self._troubles.get(ticker) else None
        if trouble == "hang":
            self._released.wait(30)
            trouble = 503
        if isinstance(trouble, int):
            status, kind, body = trouble, "text/html", "Edge: Too Many Requests" if trouble == 429 else "<html>oops"
        elif trouble is not None:
            status, kind, body = 200, "text/html", trouble
        else:
            status, chart = self._chart(ticker, query)
            kind, body = "application/json", json.dumps(chart)
        timezone = self.listings[ticker].timezone if ticker in self.listings else "America/New_York"
        days = [pd.Timestamp(int(query.get(name, 0)), unit="s", tz=timezone) for name in ("period1", "period2")]
        self.requests.append(ChartRequest(ticker, days[0].tz_localize(None), days[1].tz_localize(None), status))
        return status, kind, body

    def _calendar(self, ticker: str) -> tuple[int, str, str]:
        self.calendar_requests.append(ticker)
        if self.calendar_status != 200:
            return self.calendar_status, "text/html", "<html>oops"
        stamp = self.calendars.get(ticker)
        if isinstance(stamp, str):
            return 200, "application/json", stamp
        if ticker not in self.listings and ticker not in self.calendars:
            error = {"code": "Not Found", "description": f"Quote not found for symbol: {ticker}"}
            return 404, "application/json", json.dumps({"quoteSummary": {"result": None, "error": error}})
        events = {"maxAge": 1, "earnings": {"earningsDate": []}, **({"exDividendDate": stamp} if stamp else {})}
        return (
            200,
            "application/json",
            json.dumps({"quoteSummary": {"result": [{"calendarEvents": events}], "error": None}}),
        )

    def _chart(self, ticker: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if ticker in self.recorded:
            return 200, self.recorded[ticker]
        if ticker not in self.listings:
            return 404, _error("Not Found", "No data found, symbol may be delisted")
        listing = self.listings[ticker]
        if "period1" not in query:
            return 400, _error("Bad Request", "this fake is only asked for periods")
        start, end = int(query["period1"]), int(query["period2"])
        stamps = _stamps(listing.bars.index, listing.timezone)
        inside = (stamps >= start) & (stamps < end)
        if not inside.any():
            return 400, _error(
                "Bad Request", f"Data doesn't exist for startDate = {start}, endDate = {end}"
            )  # as Yahoo words it
        return 200, {"chart": {"result": [_result(ticker, listing, inside, (start, end))], "error": None}}


def _stamps(days: pd.DatetimeIndex, timezone: str) -> np.ndarray:
    opens = (days + SESSION_OPENS).tz_localize(timezone).tz_convert("UTC").tz_localize(None)
    return opens.as_unit("s").asi8


def _error(code: str, description: str) -> dict[str, Any]:
    return {"chart": {"result": None, "error": {"code": code, "description": description}}}


def _result(ticker: str, listing: Listing, inside: np.ndarray, period: tuple[int, int]) -> dict[str, Any]:
    bars = listing.bars[inside]
    first = listing.first_trade or listing.bars.index[0]
    zone = listing.timezone
    events: dict[str, Any] = {}
    for name, days in (("dividends", listing.dividends), ("splits", listing.splits)):
        for day, value in days.items():
            stamp = int(_stamps(pd.DatetimeIndex([day]), zone)[0])
            if period[0] <= stamp < period[1]:
                events.setdefault(name, {})[str(stamp)] = {"date": stamp, **_event(name, value)}
    quote = {name: _values(bars[name]) for name in ("open", "high", "low", "close", "volume")}
    return {
        "meta": {
            "currency": "USD",
            "symbol": ticker,
            "exchangeName": "NMS",
            "instrumentType": "EQUITY",
            "firstTradeDate": int(_stamps(pd.DatetimeIndex([first]), zone)[0]),
            "regularMarketTime": int(_stamps(listing.bars.index[-1:], zone)[0]),
            "gmtoffset": -18000,
            "timezone": "EST",
            "exchangeTimezoneName": zone,
            "priceHint": 2,
            "dataGranularity": "1d",
            "range": "",
            "validRanges": VALID_RANGES,
        },
        "timestamp": _stamps(bars.index, zone).tolist(),
        **({"events": events} if events else {}),
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": _values(bars["adj_close"])}]},
    }


def _event(name: str, value: Any) -> dict[str, Any]:
    if name == "dividends":
        return {"amount": value}
    return {"numerator": value[0], "denominator": value[1], "splitRatio": f"{value[0]:g}:{value[1]:g}"}


def _values(column: pd.Series) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in column]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    yahoo: FakeYahoo

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up waiting breaks the pipe; that is what some tests want."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        status, kind, body = self.server.yahoo.answer(self.path)
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `FakeYahoo.requests` instead of a log."""
