"""Alpaca as a broker, through alpaca-py: a paper account, a live one, or the local exchange, by the address."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import batched
from typing import Any

import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest, StockLatestQuoteRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient

from mlops_cli.errors import BrokerError
from mlops_cli.market.hours import NEW_YORK
from mlops_cli.market.symbols import symbol_of
from mlops_cli.system.bounded_http import TooLarge, TooSlow
from mlops_cli.trading.alpaca import alpaca_answers as answers
from mlops_cli.trading.alpaca.alpaca_client import (
    AlpacaAccess,
    Failed,
    Patience,
    TimedSession,
    TokenBucket,
    raise_if_keys,
    repeat,
)
from mlops_cli.trading.contract.broker import (
    Activities,
    Bar,
    BrokerClock,
    BrokerOrder,
    BrokerUnreachable,
    OrderRefused,
    OutcomeUnknown,
    Quote,
    SessionHours,
)
from mlops_cli.trading.contract.types import AccountState, Holding, OrderIntent

ORDERS_PAGE, ACTIVITIES_PAGE, SYMBOLS_PAGE = 500, 100, 100
CALENDAR_AHEAD, SHORTEST_SECRET, LONGEST_WORDS = timedelta(days=45), 7, 200
NOT_UNIQUE = "client_order_id must be unique"


class AlpacaBroker:
    """See `broker.Broker`."""

    def __init__(self, access: AlpacaAccess, patience: Patience | None = None) -> None:
        self._access = access
        self._patience = patience or Patience()
        self._trading = TradingClient(access.key, access.secret, raw_data=True, url_override=access.address)
        self._data = StockHistoricalDataClient(
            access.key, access.secret, raw_data=True, url_override=access.market_data
        )
        bucket = TokenBucket()  # one for both APIs: Alpaca's limit is that of the account
        for client, address in ((self._trading, access.address), (self._data, access.market_data)):
            client._session = TimedSession(address, self._patience, bucket)
            client._retry = 0  # alpaca-py sends again on 504, a POST too, without asking what became of the first
        self._account_id = ""
        self._calendar: list[SessionHours] = []
        self._calendar_reach: tuple[date, date] | None = None

    @property
    def address(self) -> str:
        """Of the trading API."""
        return self._access.address

    @answers.as_alpaca
    def account_id(self) -> str:
        """The account's id."""
        if not self._account_id:
            self._account_id = str(self._get("/account")["id"])
        return self._account_id

    @answers.as_alpaca
    def account(self) -> AccountState:
        """Cash and worth."""
        raw = self._get("/account")
        self._account_id = str(raw["id"])
        return AccountState(
            *(answers.number_of(raw[name]) for name in ("equity", "cash", "last_equity", "buying_power"))
        )

    @answers.as_alpaca
    def positions(self) -> Mapping[str, Holding]:
        """What is held."""
        return {holding.ticker: holding for holding in map(answers.holding_of, self._get("/positions"))}

    @answers.as_alpaca
    def clock(self) -> BrokerClock:
        """The broker's time."""
        raw = self._get("/clock")
        return BrokerClock(answers.time_of(raw["timestamp"]), bool(raw["is_open"]))

    @answers.as_alpaca
    def calendar(self, start: date, end: date) -> Sequence[SessionHours]:
        """Sessions; asked for some weeks ahead at a time, and kept."""
        if self._calendar_reach is None or not self._calendar_reach[0] <= start <= end <= self._calendar_reach[1]:
            first, last = start, end + CALENDAR_AHEAD
            days = self._get("/calendar", {"start": first.isoformat(), "end": last.isoformat()})
            self._calendar = list(map(answers.hours_of, days))
            self._calendar_reach = (first, last)
        return [hours for hours in self._calendar if start <= hours.session <= end]

    @answers.as_alpaca
    def quotes(self, tickers: Sequence[str]) -> Mapping[str, Quote]:
        """Latest quotes."""

        def ask(some: Sequence[str]) -> Any:
            return self._data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=list(some)))

        raw_by_symbol = self._of_symbols(list(map(symbol_of, tickers)), ask)
        quotes = [answers.quote_of(symbol, raw) for symbol, raw in raw_by_symbol.items()]
        return {quote.ticker: quote for quote in quotes}

    @answers.as_alpaca
    def bars(self, tickers: Sequence[str], session: date) -> Mapping[str, Bar]:
        """Daily bars of a session.

        The request names neither an end nor a feed: Alpaca then gives what the account may see (without a data
        subscription: all exchanges up to fifteen minutes ago). It may refuse a request that names them with 403.
        """
        midnight = datetime.combine(session, datetime.min.time(), NEW_YORK)

        def ask(some: Sequence[str]) -> Any:
            request = StockBarsRequest(
                symbol_or_symbols=list(some),
                timeframe=TimeFrame.Day,
                start=midnight,
                adjustment=Adjustment.SPLIT,
            )
            return self._data.get_stock_bars(request)

        raw_by_symbol = self._of_symbols(list(map(symbol_of, tickers)), ask)
        bars = [answers.bar_of(symbol, raw) for symbol, several in raw_by_symbol.items() for raw in several]
        return {bar.ticker: bar for bar in bars if bar.session == session}

    def submit(self, intent: OrderIntent) -> BrokerOrder:
        """Send an order; see `broker.Broker.submit`.

        After 429 the order was not taken and is simply sent again. After silence, a broken connection or a 5xx the
        broker is asked for it by name first. Should a first one arrive late, the second is refused for its name.
        """
        fields = answers.fields_of(intent)
        last: Failed | None = None
        for attempt in range(self._patience.attempts):
            try:
                return self._taken(fields)
            except Failed as error:
                last = error
            taken = self._after_failure(intent, last)
            if taken is not None:
                return taken
            if last.outlook != "again":
                break
            if attempt < self._patience.attempts - 1:
                time.sleep(self._patience.pause(attempt))
        assert last is not None
        if last.outlook == "slow":  # so are the next orders: the pass ends
            raise BrokerUnreachable(f"{intent.ticker}: order {intent.client_order_id}: {last.words}")
        tried = last.words + (f" ({self._patience.attempts} attempts)" if last.passing else "")
        raise OutcomeUnknown(
            f"{intent.ticker}: order {intent.client_order_id}: {tried}", "the next pass asks by its name"
        )

    def cancel(self, order_id: str) -> None:
        """Cancel an open order."""
        try:
            self._repeat(lambda: self._trading.delete(f"/orders/{order_id}"), empty=True)
        except Failed as error:
            if error.status not in (404, 422):  # it is over already
                raise BrokerError(f"order {order_id} cannot be cancelled: {error.words}") from error

    @answers.as_alpaca
    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """The order of this name."""
        query = {"client_order_id": client_order_id}
        try:
            return answers.order_of(self._repeat(lambda: self._trading.get("/orders:by_client_order_id", query)))
        except Failed as error:
            if error.status == 404:
                return None
            raise self._odd(error) from error

    @answers.as_alpaca
    def orders_since(self, time: datetime) -> Sequence[BrokerOrder]:
        """All orders submitted after `time`."""
        common = {"status": "all", "direction": "asc", "limit": ORDERS_PAGE}
        query, orders = {**common, "after": time.isoformat()}, []
        while True:
            page = [answers.order_of(raw) for raw in self._get("/orders", query)]
            orders += page
            if len(page) < ORDERS_PAGE:
                return orders
            query = {**common, "after_order_id": page[-1].id}  # by time, those of one instant would be lost

    @answers.as_alpaca
    def activities_since(self, time: datetime) -> Activities:
        """Executions and all the rest."""
        query = {"after": f"{time:%Y-%m-%dT%H:%M:%SZ}", "direction": "asc", "page_size": ACTIVITIES_PAGE}
        activities: list[dict[str, Any]] = []
        while True:
            page = self._get("/account/activities", query)
            activities += page
            if len(page) < ACTIVITIES_PAGE:
                break
            query = {**query, "page_token": page[-1]["id"]}
        fills = tuple(answers.fill_of(raw) for raw in activities if raw["activity_type"] == "FILL")
        others = tuple(answers.activity_of(raw) for raw in activities if raw["activity_type"] != "FILL")
        return Activities(fills, others)

    def _taken(self, fields: dict[str, Any]) -> BrokerOrder:
        answer = self._ask(lambda: self._trading.post("/orders", fields))
        try:
            order = answers.order_of(answer)
            if order.client_order_id != fields["client_order_id"]:
                raise ValueError
            return order
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:  # it may be an order all the same
            raise Failed(None, 0, f"an answer that is no order ({type(error).__name__})") from error

    def _after_failure(self, intent: OrderIntent, error: Failed) -> BrokerOrder | None:
        if error.ambiguous or NOT_UNIQUE in error.words:
            try:
                order = self.order_by_client_id(intent.client_order_id)
            except (BrokerUnreachable, BrokerError) as silence:
                raise OutcomeUnknown(
                    f"{intent.ticker}: order {intent.client_order_id}: {error.words}", silence.message
                ) from silence
            if order is not None or error.ambiguous:
                return order
        if not error.passing:
            if error.status == 401:
                raise_if_keys(error, self.address)
            raise OrderRefused(f"{intent.ticker}: {error.words}")
        return None

    def _of_symbols(self, symbols: Sequence[str], ask: Callable[[Sequence[str]], Any]) -> dict[str, Any]:
        """Answers of the data API by symbol. A request that is refused for an unknown symbol is split in two."""
        if len(symbols) > SYMBOLS_PAGE:
            pages = [self._of_symbols(some, ask) for some in batched(symbols, SYMBOLS_PAGE)]
            return {symbol: raw for page in pages for symbol, raw in page.items()}
        if not symbols:
            return {}
        try:
            raw_by_symbol: dict[str, Any] = self._repeat(lambda: ask(symbols))
        except Failed as error:
            if error.status not in (400, 422):
                raise self._odd(error) from error
            if len(symbols) == 1:
                return {}
            half = len(symbols) // 2
            return self._of_symbols(symbols[:half], ask) | self._of_symbols(symbols[half:], ask)
        return raw_by_symbol

    def _get(self, path: str, query: dict[str, Any] | None = None) -> Any:
        try:
            return self._repeat(lambda: self._trading.get(path, query))
        except Failed as error:
            raise self._odd(error) from error

    def _repeat(self, call: Callable[[], Any], *, empty: bool = False) -> Any:
        return repeat(lambda: self._ask(call, empty=empty), self._patience, self.address)

    def _ask(self, call: Callable[[], Any], *, empty: bool = False) -> Any:
        """Send one request; every failure becomes `Failed`."""
        try:
            answer = call()
        except APIError as error:
            code, words = answers.said_of(error)
            raise Failed(error.status_code, code, self._clean(words)) from None
        except TooSlow as error:
            raise Failed(None, 0, str(error), "slow") from None
        except (TooLarge, RecursionError) as error:
            words = str(error) if isinstance(error, TooLarge) else "an answer nested too deeply"
            raise Failed(None, 0, words, "unreadable") from None
        except (requests.RequestException, ValueError) as error:  # ValueError: an answer that is no JSON
            raise Failed(None, 0, self._clean(answers.why(error))) from None
        if answer is None and not empty:
            raise Failed(None, 0, "an empty answer")
        return answer

    def _clean(self, words: str) -> str:
        for secret in (self._access.key, self._access.secret):
            if len(secret) > SHORTEST_SECRET:  # a word such as red opens an account of the local exchange
                words = words.replace(secret, "***")
        line = " ".join(words.split())
        return line if len(line) <= LONGEST_WORDS else f"{line[:LONGEST_WORDS]} ..."

    def _odd(self, error: Failed) -> BrokerError:
        status = f" (HTTP {error.status})" if error.status else ""
        return BrokerError(f"{self.address}: {error.words}{status}", "look at ALPACA_BASE_URL in .env")
