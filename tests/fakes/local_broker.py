"""The local exchange as a broker, in this process: no HTTP, no port. Its answers are read as Alpaca's are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

from mlops_cli.exchange.api import views
from mlops_cli.exchange.api.bars import Chart, TimeSpan, read_timeframe
from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.exchange.book.order_requests import read_order_request
from mlops_cli.exchange.book.records import Account, RefusedError
from mlops_cli.exchange.book.state import State
from mlops_cli.market.hours import midnight
from mlops_cli.market.symbols import symbol_of
from mlops_cli.trading.alpaca.alpaca_answers import activity_of, bar_of, fields_of, fill_of, holding_of, order_of
from mlops_cli.trading.contract.broker import (
    Activities,
    Bar,
    BrokerClock,
    BrokerOrder,
    KeysRefused,
    OrderRefused,
    Quote,
    SessionHours,
)
from mlops_cli.trading.contract.types import AccountState, Holding, OrderIntent


class LocalBroker:
    """See `broker.Broker`.

    Args:
        exchange: an engine that nobody else drives at the same time.
        key: of the account; any text opens one.
        secret: of the account.

    Raises:
        KeysRefused: the account has another secret.
    """

    def __init__(self, exchange: Exchange, key: str, secret: str) -> None:
        self._exchange = exchange
        exchange.catch_up()
        try:
            self._account: Account = exchange.account(key, secret)
        except RefusedError as error:
            raise KeysRefused(
                f"the local exchange refuses the keys: {error}", "give the account's own secret"
            ) from None

    @property
    def address(self) -> str:
        """For messages."""
        return "the local exchange"

    def account_id(self) -> str:
        """The account's id."""
        return self._account.id

    def account(self) -> AccountState:
        """Cash and worth."""
        raw = views.account_view(self._state(), self._account)
        return AccountState(*(Decimal(raw[name]) for name in ("equity", "cash", "last_equity", "buying_power")))

    def positions(self) -> Mapping[str, Holding]:
        """What is held."""
        state = self._state()
        held = [views.position_view(state, self._account, position) for position in self._account.positions.values()]
        return {one.ticker: one for one in map(holding_of, held)}

    def clock(self) -> BrokerClock:
        """The exchange's time."""
        state = self._state()
        return BrokerClock(state.now, state.hours.current(state.now) is not None)

    def calendar(self, start: date, end: date) -> Sequence[SessionHours]:
        """Sessions."""
        return [SessionHours(one.day, one.opens, one.closes) for one in self._exchange.state.hours.between(start, end)]

    def quotes(self, tickers: Sequence[str]) -> Mapping[str, Quote]:
        """Latest quotes."""
        state, quotes = self._state(), {}
        for ticker in tickers:
            symbol = symbol_of(ticker)
            quote = state.quote(symbol) if state.market.has(symbol) else None
            if quote is not None:
                bid, ask = (Decimal(str(round(price, 4))) for price in (quote.bid, quote.ask))
                quotes[ticker] = Quote(ticker, bid, ask, quote.at)
        return quotes

    def bars(self, tickers: Sequence[str], session: date) -> Mapping[str, Bar]:
        """Daily bars of a session."""
        state, daily = self._state(), read_timeframe("1Day")
        span = TimeSpan(midnight(session), state.now)
        symbols = [symbol for symbol in map(symbol_of, tickers) if state.market.has(symbol)]
        charts = {symbol: Chart(state.market, symbol, state.now, True) for symbol in symbols}
        each = [bar_of(symbol, raw) for symbol, chart in charts.items() for raw in chart.bars(daily, span)]
        return {bar.ticker: bar for bar in each if bar.session == session}

    def submit(self, intent: OrderIntent) -> BrokerOrder:
        """Send an order, once."""
        known = self.order_by_client_id(intent.client_order_id)
        if known is not None:
            return known
        try:
            order = self._exchange.submit(self._account, read_order_request(fields_of(intent)))
        except RefusedError as error:
            raise OrderRefused(f"{intent.ticker}: {error}") from None
        self._exchange.commit()
        return order_of(views.order_view(order))

    def cancel(self, order_id: str) -> None:
        """Cancel an open order."""
        self._exchange.catch_up()
        order = self._account.orders.get(order_id)
        if order is not None and order.is_open:
            self._exchange.cancel(self._account, order_id)
            self._exchange.commit()

    def order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """The order of this name."""
        self._exchange.catch_up()
        order = self._account.by_client_id.get(client_order_id)
        return None if order is None else order_of(views.order_view(order))

    def orders_since(self, time: datetime) -> Sequence[BrokerOrder]:
        """All orders submitted after `time`."""
        self._exchange.catch_up()
        return [order_of(views.order_view(one)) for one in self._account.orders.values() if one.created_at > time]

    def activities_since(self, time: datetime) -> Activities:
        """Executions and all the rest."""
        self._exchange.catch_up()
        found = [one.body for one in self._account.activities if one.at > time]
        return Activities(
            tuple(fill_of(raw) for raw in found if raw["activity_type"] == "FILL"),
            tuple(activity_of(raw) for raw in found if raw["activity_type"] != "FILL"),
        )

    def _state(self) -> State:
        self._exchange.catch_up()
        return self._exchange.state
