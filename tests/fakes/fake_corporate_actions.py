"""Alpaca's corporate actions on loopback: a real HTTP server that the real alpaca-py talks to.

It answers `/v1/corporate-actions` in the shape of Alpaca's contract: actions by kind, pages of at most `page_size`, and
a filter by symbol, type and ex-date, of which both ends default to today.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import NAMESPACE_URL, uuid5

PATH = "/v1/corporate-actions"
KINDS = {"cash_dividend": "cash_dividends", "forward_split": "forward_splits", "reverse_split": "reverse_splits"}
KEY = "PK-FAKE"


class FakeCorporateActions:
    """The server; use as a context manager."""

    def __init__(self, today: str = "2024-06-30", page_size: int = 1000) -> None:
        self.actions: list[dict[str, Any]] = []
        self.requests: list[dict[str, str]] = []
        self.troubles: list[int | str] = []
        """The next answers: a status code, or a text that is sent with status 200."""
        self._today = today
        self._page_size = page_size
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.actions = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeCorporateActions:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def dividend(self, symbol: str, ex_date: str, rate: float, **more: Any) -> None:
        """Add a cash dividend as the contract has it."""
        facts = {"symbol": symbol, "cusip": "319829107", "ex_date": ex_date, "record_date": ex_date, "rate": rate}
        name = str(uuid5(NAMESPACE_URL, f"{symbol} {ex_date} {rate} {more}"))
        facts |= {"id": name, "process_date": ex_date, "payable_date": ex_date, "special": False, "foreign": False}
        self.actions.append({"kind": "cash_dividend", **facts, **more})

    def split(self, symbol: str, ex_date: str, new: float, old: float = 1.0) -> None:
        kind = "forward_split" if new > old else "reverse_split"
        shares = {"cusip": "319829107"} if new > old else {"old_cusip": "319829107", "new_cusip": "319829108"}
        facts = {"symbol": symbol, "ex_date": ex_date, "process_date": ex_date, **shares}
        name = str(uuid5(NAMESPACE_URL, f"{symbol} {ex_date} {new}"))
        self.actions.append({"kind": kind, "id": name, "new_rate": new, "old_rate": old, **facts})

    def answer(self, path: str, key: str | None) -> tuple[int, str]:
        """Status and body for a request path; kept apart from HTTP."""
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.requests.append(query)
        if self.troubles:
            trouble = self.troubles.pop(0)
            return (trouble, '{"message": "trouble"}') if isinstance(trouble, int) else (200, trouble)
        if parts.path != PATH:
            return 404, '{"message": "not found"}'
        if key != KEY:
            return 403, '{"message": "forbidden."}'
        wanted = [action for action in self.actions if self._matches(action, query)]
        wanted.sort(key=lambda action: action["ex_date"])
        first = int(query.get("page_token", "0"))
        page = wanted[first : first + min(int(query.get("limit", "100")), self._page_size)]
        rest = first + len(page)
        listed: dict[str, list[dict[str, Any]]] = {}
        for action in page:
            body = {name: value for name, value in action.items() if name != "kind"}
            listed.setdefault(KINDS[action["kind"]], []).append(body)
        token = str(rest) if rest < len(wanted) else None
        return 200, json.dumps({"corporate_actions": listed, "next_page_token": token})

    def _matches(self, action: dict[str, Any], query: dict[str, str]) -> bool:
        start, end = query.get("start", self._today), query.get("end", self._today)
        return (
            action["symbol"] in query["symbols"].split(",")
            and action["kind"] in query["types"].split(",")
            and start <= action["ex_date"] <= end
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    actions: FakeCorporateActions


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        status, body = self.server.actions.answer(self.path, self.headers.get("APCA-API-KEY-ID"))
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `requests` instead of a log."""
