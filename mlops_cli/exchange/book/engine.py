"""The exchange: accounts, the order book, and time passing over both. Knows nothing of HTTP."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from uuid import uuid4

from mlops_cli.errors import MlopsError
from mlops_cli.exchange.book.clock import Clock
from mlops_cli.exchange.book.corporate_actions import apply
from mlops_cli.exchange.book.order_entry import admit, check_replacement, expiry
from mlops_cli.exchange.book.order_requests import Ticket, check
from mlops_cli.exchange.book.records import (
    Account,
    Order,
    RefusedError,
    Rules,
    not_found,
    refused,
    unprocessable,
)
from mlops_cli.exchange.book.state import State
from mlops_cli.exchange.book.store import Store
from mlops_cli.exchange.book.trading_floor import match_orders
from mlops_cli.exchange.market.market import Market
from mlops_cli.market.hours import Session


class Exchange(State):
    """A paper exchange. Call `settle` before anything else: it lets happen what time has brought since."""

    def __init__(self, market: Market, clock: Clock, rules: Rules | None = None, store: Store | None = None) -> None:
        super().__init__(market, clock, rules or Rules())
        self._store = store
        self._sequence = 0
        self._fresh: list[tuple[Account, Order]] = []
        self._doomed: set[str] = set()
        if store is not None:
            try:
                store.load(self)
            except MlopsError:
                store.close()
                raise
            taken = (order.sequence for account in self.accounts.values() for order in account.orders.values())
            self._sequence = max(taken, default=0)
            self._fresh = [pair for pair in self.open_orders() if pair[1].status == "pending_new"]

    # accounts

    def account(self, key: str, secret: str) -> Account:
        """The account of a key; opened where the key is new.

        Raises:
            RefusedError: no key, or the key has another secret.
        """
        digest = hashlib.sha256(secret.encode()).hexdigest()
        known = self.accounts.get(key)
        if known is None and key and secret:
            number = f"PA{len(self.accounts) + 1:08d}"
            known = self.accounts[key] = Account(str(uuid4()), key, digest, number, self.settled)
            self.changed(known)
        if known is None or not hmac.compare_digest(known.secret_hash, digest):
            raise RefusedError(401, 40110000, "request is not authorized")
        return known

    # orders

    def submit(self, account: Account, ticket: Ticket, replaces: Order | None = None) -> Order:
        """Take an order. It is filled when time is settled next, not before this returns.

        Raises:
            RefusedError: the order is not taken.
        """
        if ticket.client_order_id in account.by_client_id:
            raise refused("client_order_id must be unique")
        session = self.hours.current(self.settled)
        order = Order(
            str(uuid4()), account.id, ticket.client_order_id or str(uuid4()), ticket.symbol, ticket.side, ticket.type,
            ticket.time_in_force, ticket.qty, ticket.notional, ticket.limit_price, ticket.stop_price,
            ticket.extended_hours, "", "accepted" if session is None else "pending_new", self._sequence + 1,
            self.settled, self.settled, expiry(ticket.time_in_force, self.hours, self.settled),
        )  # fmt: skip
        admit(self, account, order, ticket)
        self._sequence = order.sequence
        if replaces is not None:
            order.replaces, replaces.replaced_by = replaces.id, order.id
        if self.faults.strike("reject_orders", order.symbol):
            self._doomed.add(order.id)
        delay = self.faults.strike("delay_fills", order.symbol)
        if delay is not None:
            start = self.settled if session is not None else self.hours.next_open(self.settled).opens
            order.not_before = start + timedelta(seconds=delay.seconds)
        account.add(order)
        self._fresh.append((account, order))
        self.changed(order)
        return order

    def cancel(self, account: Account, order_id: str) -> Order:
        """Cancel an order.

        Raises:
            RefusedError: there is no such order, or it is no longer open.
        """
        order = self.order(account, order_id)
        if not order.is_open:
            raise unprocessable(f'order is already in "{order.status}" state')
        self.end(account, order, "canceled", self.settled)
        return order

    def replace(self, account: Account, order_id: str, changes: Ticket) -> Order:
        """Put another order in an order's place, for the shares that it has left.

        Raises:
            RefusedError: the order is gone, or the new one is not taken; the old one then stays.
        """
        order = self.order(account, order_id)
        check_replacement(order, changes)
        assert changes.qty is not None
        changes.qty -= order.filled_qty
        check(changes)
        account.shut(order)
        try:
            new = self.submit(account, changes, order)
        except MlopsError:
            account.open(order)
            raise
        self.end(account, order, "replaced", self.settled)
        return new

    def order(self, account: Account, order_id: str) -> Order:
        """An order by its id.

        Raises:
            RefusedError: there is none.
        """
        if order_id not in account.orders:
            raise not_found(f"order not found for {order_id}")
        return account.orders[order_id]

    # time

    def settle(self) -> None:
        """Let happen everything up to the clock's time, in the order in which it happens.

        Raises:
            DataError: a price table that this takes is damaged. Time then stands before what needs it, and nothing
                is lost: it happens as soon as the table is whole.
        """
        now = self.clock.now()
        self.market.look_again()
        self._match_fresh()
        while self.settled < now:
            session = self.hours.current(self.settled)
            if session is None:
                coming = self.hours.next_open(self.settled)
                if not self.settled < coming.opens <= now:
                    self.move_to(now)
                    break
                self._read_prices()
                self.move_to(coming.opens)
                self._open(coming)
            else:
                until = min(now, session.closes)
                span = (session.share(self.settled), session.share(until))
                self._read_prices()
                self.move_to(until)
                match_orders(self, session, span, self.open_orders())
                if until == session.closes:
                    self._close(session)

    def commit(self) -> None:
        """Write down what has changed."""
        if self._store is not None:
            self._store.commit(self)
        self.unwritten.clear()

    def close(self) -> None:
        """Release the database."""
        if self._store is not None:
            self._store.close()

    def _read_prices(self) -> None:
        """Read every table that the next step may need: once time has moved, nothing may fail."""
        symbols = {symbol for account in self.accounts.values() for symbol in account.positions}
        symbols |= {order.symbol for account in self.accounts.values() for order in account.open_orders.values()}
        symbols |= {action.symbol for action in self.actions}
        for symbol in symbols:
            self.market.series(symbol)

    def _match_fresh(self) -> None:
        if not self._fresh:
            return
        session = self.hours.current(self.settled)
        for _, order in self._fresh if session is not None else ():
            self.market.series(order.symbol)
        fresh, self._fresh = self._fresh, []
        for account, order in fresh:
            if order.id in self._doomed and order.is_open:
                self._doomed.discard(order.id)
                self.end(account, order, "rejected", self.settled)
        if session is None:
            return
        share = session.share(self.settled)
        match_orders(self, session, (share, share), fresh)
        for account, order in fresh:
            if order.status == "pending_new":
                order.status = "new"
                self.changed(order)
            if order.is_open and order.time_in_force in ("ioc", "fok"):
                self.end(account, order, "canceled", self.settled)

    def _open(self, session: Session) -> None:
        self.taken.clear()
        due = [action for action in self.actions if action.day <= session.day]
        self.actions = [action for action in self.actions if action.day > session.day]
        for action in due:
            apply(self, action, session.day)
        self.forget_prices()
        for account in self.accounts.values():
            for order in [*account.open_orders.values()]:
                if order.status == "accepted":
                    order.status, order.updated_at = "new", self.settled
                    self.changed(order)
        match_orders(self, session, (0.0, 0.0), self.open_orders())
        for account, order in self.open_orders():
            if order.time_in_force == "opg":
                self.end(account, order, "canceled", self.settled)

    def _close(self, session: Session) -> None:
        for account, order in self.open_orders():
            if order.expires_at <= session.closes:
                self.end(account, order, "expired", session.closes)
        for account in self.accounts.values():
            account.equity[session.day] = self.worth(account).equity
            self.changed(account)
