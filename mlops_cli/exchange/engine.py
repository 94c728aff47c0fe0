"""The exchange: accounts, the order book, and time passing over both. Knows nothing of HTTP."""

from __future__ import annotations

import hashlib
import hmac
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

from mlops_cli.exchange import books
from mlops_cli.exchange.actions import CorporateAction, apply
from mlops_cli.exchange.clock import Clock
from mlops_cli.exchange.entry import admit, expiry
from mlops_cli.exchange.faults import Faults
from mlops_cli.exchange.floor import match_orders
from mlops_cli.exchange.hours import Hours, Session, local
from mlops_cli.exchange.market import Market
from mlops_cli.exchange.matching import quote, to_price
from mlops_cli.exchange.model import (
    ZERO,
    Account,
    Activity,
    Order,
    RefusedError,
    Rules,
    not_found,
    refused,
    unprocessable,
)
from mlops_cli.exchange.store import Store
from mlops_cli.exchange.tickets import Ticket, check


class Exchange:
    """A paper exchange. Call `settle` before anything else: it lets happen what time has brought since the last call.

    Attributes:
        settled: up to when everything has happened.
        taken: shares of this session's volume that are gone, by account and symbol.
        actions: corporate actions still to come.
    """

    def __init__(self, market: Market, clock: Clock, rules: Rules | None = None, store: Store | None = None) -> None:
        self.market = market
        self.hours: Hours = market.hours
        self.clock = clock
        self.rules = rules or Rules()
        self.faults = Faults()
        self.accounts: dict[str, Account] = {}
        self.actions: list[CorporateAction] = []
        self.settled = clock.now()
        self._store = store
        self._sequence = 0
        self._prices: dict[str, Decimal] = {}
        self._fresh: list[tuple[Account, Order]] = []
        self.taken: dict[tuple[str, str], Decimal] = {}
        self._doomed: set[str] = set()
        if store is not None:
            store.load(self)
            self._sequence = sum(len(account.orders) for account in self.accounts.values())
            self._fresh = [pair for pair in self._everybody() if pair[1].status == "pending_new"]

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

    def price(self, symbol: str) -> Decimal:
        """The last price; zero where there never was one."""
        known = self._prices.get(symbol)
        if known is None:
            last = self.market.price(symbol, self.settled)
            known = self._prices[symbol] = ZERO if last is None else to_price(last[0])
        return known

    def quote(self, symbol: str) -> tuple[float, float, datetime] | None:
        """Bid, ask, and when they were made."""
        stale = self.faults.standing("stale_quotes", symbol)
        at = self.settled if stale is None else min(stale.since, self.settled)
        last = self.market.price(symbol, at)
        return None if last is None else (*quote(last[0], self.rules, self.widening(symbol)), last[1])

    def worth(self, account: Account) -> books.Worth:
        """What an account is worth now."""
        return books.worth(account, self.price)

    def last_equity(self, account: Account) -> tuple[date | None, Decimal]:
        """Equity at the close of the last session before today, and its day."""
        today = local(self.settled).date()
        day = max((day for day in account.equity if day < today), default=None)
        return day, account.base_value if day is None else account.equity[day]

    # orders

    def submit(self, account: Account, ticket: Ticket, replaces: Order | None = None) -> Order:
        """Take an order. It is filled when time is settled next, not before this returns.

        Raises:
            RefusedError: the order is not taken.
        """
        if ticket.client_order_id in account.by_client_id:
            raise refused("client_order_id must be unique")
        session = self.hours.current(self.settled)
        self._sequence += 1
        order = Order(
            str(uuid4()), account.id, ticket.client_order_id or str(uuid4()), ticket.symbol, ticket.side, ticket.type,
            ticket.time_in_force, ticket.qty, ticket.notional, ticket.limit_price, ticket.stop_price,
            ticket.extended_hours, "", "accepted" if session is None else "pending_new", self._sequence,
            self.settled, self.settled, expiry(ticket.time_in_force, self.hours, self.settled),
        )  # fmt: skip
        admit(self, account, order, ticket)
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
        if not order.is_open:
            raise unprocessable(f'order is already in "{order.status}" state')
        if changes.qty is None:
            raise unprocessable("notional orders cannot be replaced")
        if changes.qty <= order.filled_qty:
            raise unprocessable("qty must be greater than what is filled")
        changes.qty -= order.filled_qty
        check(changes)
        account.shut(order)
        try:
            new = self.submit(account, changes, order)
        except RefusedError:
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
        """Let happen everything up to the clock's time, in the order in which it happens."""
        now = self.clock.now()
        self._match_fresh()
        while self.settled < now:
            session = self.hours.current(self.settled)
            if session is None:
                coming = self.hours.next_open(self.settled)
                if not self.settled < coming.opens <= now:
                    self._pass(now)
                    break
                self._pass(coming.opens)
                self._open(coming)
            else:
                until = min(now, session.closes)
                span = (session.share(self.settled), session.share(until))
                self._pass(until)
                match_orders(self, session, span, self._everybody())
                if until == session.closes:
                    self._close(session)

    def record(self, account: Account, activity: Activity) -> None:
        """Add an entry to an account's history."""
        account.activities.append(activity)
        self.changed(account)
        self.changed(activity)

    def changed(self, thing: Account | Order | Activity) -> None:
        """To be written with the next commit."""
        if self._store is not None:
            self._store.note(thing)

    def commit(self) -> None:
        """Write down what has changed."""
        if self._store is not None:
            self._store.commit(self)

    def close(self) -> None:
        """Release the database."""
        if self._store is not None:
            self._store.close()

    def widening(self, symbol: str) -> float:
        """Factor on the spread."""
        wide = self.faults.standing("wide_spread", symbol)
        return 1.0 if wide is None else wide.factor

    def _pass(self, now: datetime) -> None:
        self.settled = now
        self._prices.clear()

    def _match_fresh(self) -> None:
        if not self._fresh:
            return
        fresh, self._fresh = self._fresh, []
        for account, order in fresh:
            if order.id in self._doomed and order.is_open:
                self._doomed.discard(order.id)
                self.end(account, order, "rejected", self.settled)
        session = self.hours.current(self.settled)
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

    def _everybody(self) -> list[tuple[Account, Order]]:
        return [(account, order) for account in self.accounts.values() for order in account.open_orders.values()]

    def _open(self, session: Session) -> None:
        self.taken.clear()
        due = [action for action in self.actions if action.day <= session.day]
        self.actions = [action for action in self.actions if action.day > session.day]
        for action in due:
            apply(self, action, session.day)
        self._prices.clear()
        for account in self.accounts.values():
            for order in [*account.open_orders.values()]:
                if order.status == "accepted":
                    order.status, order.updated_at = "new", self.settled
                    self.changed(order)
        match_orders(self, session, (0.0, 0.0), self._everybody())
        for account, order in self._everybody():
            if order.time_in_force == "opg":
                self.end(account, order, "canceled", self.settled)

    def _close(self, session: Session) -> None:
        for account, order in self._everybody():
            if order.expires_at <= session.closes:
                self.end(account, order, "expired", session.closes)
        for account in self.accounts.values():
            account.equity[session.day] = self.worth(account).equity
            self.changed(account)

    def end(self, account: Account, order: Order, status: str, at: datetime) -> None:
        """An order is over."""
        order.status, order.updated_at = status, at
        stamp = {"canceled": "canceled_at", "expired": "expired_at", "rejected": "failed_at", "replaced": "replaced_at"}
        if status in stamp:
            setattr(order, stamp[status], at)
        account.shut(order)
        self.changed(order)
