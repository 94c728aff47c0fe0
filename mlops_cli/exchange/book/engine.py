"""The exchange without HTTP: accounts, orders, and the steps of a request."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from uuid import uuid4

from mlops_cli.errors import MlopsError
from mlops_cli.exchange.book import trading_floor
from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.order_entry import admit, check_not_blocked, check_replacement, expiry
from mlops_cli.exchange.book.order_requests import OrderRequest, check
from mlops_cli.exchange.book.records import Account, MarketRules, Order, RefusedError, not_found, refused, unprocessable
from mlops_cli.exchange.book.state import AccountOrder, State
from mlops_cli.exchange.book.store import Store
from mlops_cli.exchange.market.market import Market

LONGEST_KEY = 128
MOST_ACCOUNTS = 10_000


class Exchange:
    """A paper exchange; `state` is what it is now.

    A request has three steps: `catch_up` moves the exchange to the clock's time, one of the other methods does what
    was asked for, `commit` writes what has changed.

    Args:
        rules: of the market; a database that holds other rules wins.
        store: a database to continue from and to write to; None to keep everything in memory.

    Raises:
        ConfigError: the database is damaged, or ends later than the clock's time.
    """

    def __init__(
        self, market: Market, clock: Clock, rules: MarketRules | None = None, store: Store | None = None
    ) -> None:
        self.state = State(market, clock, rules or MarketRules())
        self._store = store
        self._sequence = 0
        if store is not None:
            self._continue(store)

    def _continue(self, store: Store) -> None:
        try:
            store.load(self.state)
        except MlopsError:
            store.close()
            raise
        orders = [order for account in self.state.accounts.values() for order in account.orders.values()]
        self._sequence = max((order.sequence for order in orders), default=0)
        self.state.new_orders = [each for each in self.state.open_orders() if each.order.status == "pending_new"]

    # the steps before and after a request

    def catch_up(self) -> None:
        """Move the exchange to the clock's time: fills, openings, closes, expiries and corporate actions happen.

        A `DataError` says that a price table is damaged. Time then stops before the event that needs the table;
        the event happens as soon as the table is readable again.
        """
        now = self.state.clock.now()
        self.state.market.forget_changed_tables()
        trading_floor.advance(self.state, now)

    def commit(self) -> None:
        """Write what has changed; after a `ServiceError` the changes stay in memory for the next commit."""
        if self._store is not None:
            self._store.commit(self.state)
        self.state.unwritten.clear()

    def close(self) -> None:
        """Release the database."""
        if self._store is not None:
            self._store.close()

    # requests

    def account(self, key: str, secret: str) -> Account:
        """The account of a key, opened if it is new.

        Raises:
            RefusedError: the secret is wrong, key or secret are empty, the key is too long, or there are too many keys.
        """
        state = self.state
        digest = hashlib.sha256(secret.encode()).hexdigest()
        account = state.accounts.get(key)
        if account is None and key and secret and len(key) <= LONGEST_KEY and len(state.accounts) < MOST_ACCOUNTS:
            number = f"PA{len(state.accounts) + 1:08d}"
            account = state.accounts[key] = Account(str(uuid4()), key, digest, number, state.now)
            state.changed(account)
        if account is None or not hmac.compare_digest(account.secret_hash, digest):
            raise RefusedError(401, 40110000, "request is not authorized")
        return account

    def submit(self, account: Account, request: OrderRequest, replaces: Order | None = None) -> Order:
        """Accept an order, perhaps in the place of another, or raise a `RefusedError`. Only `catch_up` fills it."""
        if request.client_order_id in account.by_client_id:
            raise refused("client_order_id must be unique")
        order = self._new_order(account, request)
        admit(self.state, account, order, request)
        self._sequence = order.sequence
        if replaces is not None:
            order.replaces, replaces.replaced_by = replaces.id, order.id
        self._strike(order)
        account.add(order)
        self.state.new_orders.append(AccountOrder(account, order))
        self.state.changed(order)
        return order

    def cancel(self, account: Account, order_id: str) -> Order:
        """Cancel an order; a `RefusedError` if there is none, it is no longer open, or the account is blocked."""
        check_not_blocked(account)
        order = self.order(account, order_id)
        if not order.is_open:
            raise unprocessable(f'order is already in "{order.status}" state')
        self.state.end_order(account, order, "canceled", self.state.now)
        return order

    def replace(self, account: Account, order_id: str, changes: OrderRequest) -> Order:
        """Put a new order in the place of an open one. Shares that are already filled count for the new order.

        After a `RefusedError` (the order is no longer open, or the new one is not accepted) the old one stays open.
        """
        order = self.order(account, order_id)
        check_replacement(order, changes)
        assert changes.qty is not None
        changes.qty -= order.filled_qty
        check(changes)
        account.remove_open(order)  # its reserve and shares are free for the new order
        try:
            new = self.submit(account, changes, order)
        except MlopsError:
            account.add_open(order)
            raise
        self.state.end_order(account, order, "replaced", self.state.now)
        return new

    def order(self, account: Account, order_id: str) -> Order:
        """An order by its id; a `RefusedError` if the account has no such order."""
        if order_id not in account.orders:
            raise not_found(f"order not found for {order_id}")
        return account.orders[order_id]

    def _new_order(self, account: Account, request: OrderRequest) -> Order:
        state = self.state
        is_open = state.hours.current(state.now) is not None
        return Order(
            id=str(uuid4()),
            account=account.id,
            client_order_id=request.client_order_id or str(uuid4()),
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force,
            qty=request.qty,
            notional=request.notional,
            limit_price=request.limit_price,
            stop_price=request.stop_price,
            extended_hours=request.extended_hours,
            position_intent="",  # `admit` finds it out
            status="pending_new" if is_open else "accepted",
            sequence=self._sequence + 1,
            created_at=state.now,
            updated_at=state.now,
            expires_at=expiry(request.time_in_force, state.hours, state.now),
        )

    def _strike(self, order: Order) -> None:
        """Apply the faults that reject or delay new orders."""
        state = self.state
        if state.faults.strike("reject_orders", order.symbol):
            state.to_reject.add(order.id)
        delay = state.faults.strike("delay_fills", order.symbol)
        if delay is not None:
            is_open = state.hours.current(state.now) is not None
            start = state.now if is_open else state.hours.next_open(state.now).opens
            order.not_before = start + timedelta(seconds=delay.seconds)
