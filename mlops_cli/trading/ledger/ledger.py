"""The ledger of one team: every decision, intent, order and fill. Intents are written before they are sent.

SQLite with a write-ahead log and `synchronous=FULL`: what was committed survives a killed process and a power cut.
Times are UTC and given by the caller (the broker's clock), so that a replay's ledger holds the replay's time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from mlops_cli.errors import ConfigError
from mlops_cli.trading.contract.broker import AccountActivity, Activities, BrokerOrder
from mlops_cli.trading.contract.types import AccountState, Decision, OrderIntent
from mlops_cli.trading.ledger.tables import (
    Unbooked,
    columns,
    decision_row,
    intent_of,
    intent_row,
    order_row,
    placeholders,
    text,
)
from mlops_cli.trading.ledger.unexplained import OPENING, UnexplainedShares

UNRESOLVED = ("written", "unknown")
ACCEPTED = "accepted by hand"
OVERLAP = timedelta(days=1)
RECENT = timedelta(days=14)
FIRST_LOOKBACK = timedelta(days=90)
"""Alpaca keeps orders open this long. A new ledger must find the orders that a lost ledger, or a person, has sent."""


class Ledger(UnexplainedShares):
    """One team's ledger. Open it with `opening.open_ledger`, which keeps other writers out."""

    def open_account(
        self, account: str, cash: Decimal, holdings: Mapping[str, Decimal], unexplained: Collection[str], now: datetime
    ) -> None:
        """Begin the ledger with the cash and the shares that the account holds now.

        `unexplained`: tickers whose shares no order of the team explains; a person must accept them.
        """
        with self._writing():
            self.set_meta("account", account)
            self.set_meta("opened_at", now.isoformat())
            self.set_meta("opening_cash", text(cash) or "0")
            self._insert("holdings", [{"ticker": ticker, "qty": text(qty)} for ticker, qty in holdings.items()])
            for ticker in unexplained:
                self.note_unexplained(OPENING, ticker, holdings[ticker])
            self.event(now, "opened", None, f"{cash} USD in cash, {len(holdings)} positions")

    # -- decisions and intents

    def decided(self, session: date) -> bool:
        """Whether the decisions for a session have been made."""
        row = self._db.execute("SELECT 1 FROM passes WHERE session = ?", (session.isoformat(),)).fetchone()
        return row is not None

    def write_decisions(self, session: date, decisions: Sequence[Decision], now: datetime) -> None:
        """Write a session's decisions and their intents, all in one transaction."""
        time = now.isoformat()
        intents = [decision.intent for decision in decisions if decision.intent is not None]
        intents.sort(key=lambda intent: intent.side == "buy")  # sells go first: they free money
        with self._writing():
            self._insert("passes", [{"session": session.isoformat(), "decided_at": time}])
            self._insert("decisions", [decision_row(decision, time) for decision in decisions])
            self._add_intents(intents, time)

    def write_intents(self, intents: Sequence[OrderIntent], now: datetime) -> None:
        """Write intents that do not come from a decision (as in a liquidation); existing intents are not changed."""
        with self._writing():
            self._add_intents(intents, now.isoformat())

    def _add_intents(self, intents: Sequence[OrderIntent], time: str) -> None:
        self._insert("intents", [intent_row(intent, time) for intent in intents], on_conflict="IGNORE")

    def unresolved(self) -> list[OrderIntent]:
        """Intents for which it is unknown whether the broker accepted them, in the order they were written."""
        query = f"SELECT * FROM intents WHERE state IN ({placeholders(len(UNRESOLVED))}) ORDER BY rowid"
        return [intent_of(row) for row in self._db.execute(query, UNRESOLVED)]

    def client_order_ids_of(self, model: str) -> set[str]:
        """The client order ids of a model's intents."""
        return {row[0] for row in self._db.execute("SELECT client_order_id FROM intents WHERE model = ?", (model,))}

    def set_state(self, client_order_id: str, state: str, now: datetime, note: str = "") -> None:
        """Set the state of an intent: sent, refused, unknown, or void (never accepted, and its session is over)."""
        self._db.execute(
            "UPDATE intents SET state = ?, note = ?, changed_at = ? WHERE client_order_id = ?",
            (state, note, now.isoformat(), client_order_id),
        )

    def refused(self, session: date, besides: str) -> dict[str, str]:
        """Orders for a session that the broker has refused, and why, except those of the model `besides`."""
        query = "SELECT * FROM intents WHERE state = 'refused' AND session = ? AND model != ? ORDER BY rowid"
        rows = self._db.execute(query, (session.isoformat(), besides))
        return {row["client_order_id"]: row["note"] for row in rows}

    def sent_notional(self, session: date) -> Decimal:
        """Dollar value of the orders sent for a session, at the prices on which they were decided."""
        rows = self._db.execute(
            "SELECT qty, notional, price_seen FROM intents WHERE session = ? AND state IN ('sent', 'unknown')",
            (session.isoformat(),),
        )
        return sum(
            (Decimal(row["notional"] or 0) or Decimal(row["qty"]) * Decimal(row["price_seen"]) for row in rows),
            Decimal(0),
        )

    # -- what the broker says

    def record_orders(self, orders: Sequence[BrokerOrder], now: datetime) -> None:
        """Write orders as the broker shows them, and mark the intents with the same client order id as sent."""
        if not orders:
            return
        with self._writing():
            self._insert("orders", [order_row(order, now) for order in orders], on_conflict="REPLACE")
            self._db.executemany(
                "UPDATE intents SET state = 'sent', note = '', changed_at = ? "
                "WHERE client_order_id = ? AND state != 'sent'",
                [(now.isoformat(), order.client_order_id) for order in orders],
            )

    def note_unfilled(self, now: datetime) -> list[str]:
        """Recent orders that were not completely filled. Each is returned only once."""
        query = (
            "SELECT o.* FROM orders o JOIN intents USING (client_order_id) WHERE o.submitted_at >= ? AND o.final = 1 "
            "AND o.status NOT IN ('filled', 'replaced') AND NOT EXISTS "
            "(SELECT 1 FROM events WHERE kind = 'unfilled' AND text LIKE o.client_order_id || ':%')"
        )
        unfilled = []
        for row in self._db.execute(query, ((now - RECENT).isoformat(),)).fetchall():
            done = f", {row['filled_qty']} shares filled" if row["filled_qty"] != "0" else ""
            words = f"{row['client_order_id']}: {row['status']} by the broker{done}"
            self.event(now, "unfilled", row["ticker"], words)
            # not worth an alert: somebody cancelled the order, or its limit was not reached
            if row["status"] == "rejected" or (row["status"] == "expired" and row["type"] == "market"):
                unfilled.append(words)
        return unfilled

    def record_activities(self, activities: Activities) -> int:
        """Book fills and other activities, each only once; returns how many were new."""
        before, opened = self._db.total_changes, self.opened_at()
        with self._writing():
            # anything before the opening is already included in the opening holdings and cash
            fills = [columns(fill) for fill in activities.fills if fill.time > opened]
            others = [columns(activity, "time") for activity in activities.others if activity.time > opened]
            self._insert("fills", fills, on_conflict="IGNORE")
            self._insert("activities", others, on_conflict="IGNORE")
            new = self._db.total_changes - before
            self._close_booked()
        return new

    def accept_position(self, ticker: str, qty: Decimal, now: datetime) -> None:
        """Accept the broker's quantity of a position, and the shares of it that no order of the team explains.

        Raises:
            ConfigError: no pass has opened the ledger yet.
        """
        if self.meta("account") is None:
            raise ConfigError("this ledger has no account yet", "the first pass opens one: mlops paper-trade")
        difference = qty - self.expected_positions().get(ticker, Decimal(0))
        day, name = now.date(), f"hand-{ticker}-{now.isoformat()}"
        entry = columns(AccountActivity(name, ACCEPTED, ticker, difference, Decimal(0), day, now), "time")
        with self._writing():
            self._insert("activities", [{**entry, "moved": text(difference), "settled": 1}])
            self.event(now, "accepted", ticker, f"{text(difference)} shares that no fill explains")
            self.accept_unexplained(ticker)

    def unsettled(self, ticker: str) -> list[sqlite3.Row]:
        """Activities in a ticker's shares (e.g. splits) that its expected position does not include, oldest first."""
        # a reverse split may leave 0 shares of a small position
        moves = "(qty != '0' OR kind = 'SPLIT')"
        query = f"SELECT * FROM activities WHERE ticker = ? AND settled = 0 AND {moves} ORDER BY day, id"
        return self._db.execute(query, (ticker,)).fetchall()

    def settle(self, activity: str, moved: Decimal, now: datetime) -> None:
        """Settle an activity; `moved`: change in shares by it and the unsettled activities before it together."""
        with self._writing():
            self._db.execute("UPDATE activities SET moved = ?, settled = 1 WHERE id = ?", (text(moved), activity))
            row = self._db.execute("SELECT kind, ticker FROM activities WHERE id = ?", (activity,)).fetchone()
            self.event(now, "moved", row["ticker"], f"{text(moved)} shares by {row['kind']}")

    def settle_rest(self, differing: Sequence[str]) -> None:
        """Mark the activities of all tickers but the differing ones as settled: ledger and broker agree on them."""
        query = (
            f"UPDATE activities SET settled = 1 WHERE settled = 0 AND ticker NOT IN ({placeholders(len(differing))})"
        )
        self._db.execute(query, tuple(differing))

    def open_orders(self) -> list[sqlite3.Row]:
        """Orders that may still be filled; `session` is that of the intent, None where no intent of ours exists."""
        return self._db.execute(
            "SELECT o.*, i.session FROM orders o LEFT JOIN intents i USING (client_order_id) WHERE o.final = 0"
        ).fetchall()

    def unbooked(self) -> list[Unbooked]:
        """Orders of the team whose booked fills differ from the quantity that the broker reports as filled."""
        return [
            Unbooked(row["ticker"], row["client_order_id"], row["submitted_at"], filled, booked)
            for row in self._unbooked_orders()
            if (filled := Decimal(row["filled_qty"])) != (booked := self._booked(row["id"]))
            and self.is_own(row["client_order_id"], row["ticker"])  # those of others: see `unexplained`
        ]

    def _unbooked_orders(self) -> list[sqlite3.Row]:
        query = "SELECT * FROM orders WHERE booked = 0 AND submitted_at >= ?"
        return self._db.execute(query, (self.meta("opened_at") or "",)).fetchall()

    def _booked(self, order: str) -> Decimal:
        fills = self._db.execute("SELECT qty FROM fills WHERE order_id = ?", (order,))
        return sum((Decimal(row["qty"]) for row in fills), Decimal(0))

    def _close_booked(self) -> None:
        """Mark final orders whose fills are all booked, so that later passes need not look at every order again."""
        rows = [row for row in self._unbooked_orders() if row["final"]]
        done = [(row["id"],) for row in rows if Decimal(row["filled_qty"]) == self._booked(row["id"])]
        self._db.executemany("UPDATE orders SET booked = 1 WHERE id = ?", done)

    def expected_positions(self, before: date = date.max) -> dict[str, Decimal]:
        """Shares by ticker according to everything booked (up to the day before `before`); zeros are left out."""
        held: dict[str, Decimal] = {}
        query = (
            "SELECT ticker, qty, 1 AS sign FROM holdings UNION ALL "
            "SELECT ticker, qty, CASE side WHEN 'buy' THEN 1 ELSE -1 END FROM fills WHERE time < :day UNION ALL "
            "SELECT ticker, moved, 1 FROM activities WHERE moved != '0' AND day < :day"
        )
        for row in self._db.execute(query, {"day": before.isoformat()}):
            held[row["ticker"]] = held.get(row["ticker"], Decimal(0)) + row["sign"] * Decimal(row["qty"])
        return {ticker: qty for ticker, qty in held.items() if qty}

    def expected_cash(self) -> Decimal:
        """Cash in USD according to everything booked."""
        cash = Decimal(self.meta("opening_cash") or 0)
        for row in self._db.execute("SELECT side, qty, price FROM fills"):
            cash += (-1 if row["side"] == "buy" else 1) * Decimal(row["qty"]) * Decimal(row["price"])
        return cash + sum((Decimal(row["cash"]) for row in self._db.execute("SELECT cash FROM activities")), Decimal(0))

    # -- blocks, equity, events

    def set_blocks(self, blocks: Mapping[str, str], now: datetime) -> list[str]:
        """Replace the blocked tickers (ticker: reason); returns those that were not blocked before."""
        before = {row["ticker"]: row for row in self._db.execute("SELECT * FROM blocks")}
        new = [ticker for ticker in blocks if ticker not in before]
        if {ticker: row["reason"] for ticker, row in before.items()} == dict(blocks):
            return []
        with self._writing():
            self._db.execute("DELETE FROM blocks")
            for ticker, reason in blocks.items():
                since = before[ticker]["since"] if ticker in before else now.isoformat()
                self._insert("blocks", [{"ticker": ticker, "reason": reason, "since": since}])
            for ticker in new:
                self.event(now, "blocked", ticker, blocks[ticker])
            for ticker in before.keys() - blocks.keys():
                self.event(now, "unblocked", ticker, before[ticker]["reason"])
        return new

    def record_equity(self, session: date, account: AccountState, now: datetime) -> None:
        """Write what the account is worth after a session; replaces an earlier value of that session."""
        worth = {"equity": text(account.equity), "cash": text(account.cash)}
        row = {"session": session.isoformat(), **worth, "time": now.isoformat()}
        self._insert("equity", [row], on_conflict="REPLACE")

    def equity_curve(self) -> list[tuple[date, Decimal]]:
        """Equity after each session, in order of the sessions."""
        rows = self._db.execute("SELECT session, equity FROM equity ORDER BY session")
        return [(date.fromisoformat(row["session"]), Decimal(row["equity"])) for row in rows]

    def peak(self) -> Decimal:
        """Highest equity since a loss limit last halted the team: resuming the team accepts the loss before that."""
        rows = self._db.execute(
            "SELECT equity FROM equity WHERE time >= (SELECT COALESCE(MAX(time), '') FROM events WHERE kind = 'halted')"
        )
        return max((Decimal(row["equity"]) for row in rows), default=Decimal(0))

    def last_decided(self) -> date | None:
        """The last session that was decided on; None if there was none."""
        session = self._db.execute("SELECT MAX(session) FROM passes").fetchone()[0]
        return None if session is None else date.fromisoformat(session)

    def opened_at(self) -> datetime:
        """When the ledger was opened, in UTC; a time before any order if it has no account yet."""
        return datetime.fromisoformat(self.meta("opened_at") or "1971-01-01T00:00:00+00:00")

    def query_from(self) -> datetime:
        """Where broker queries start: a day before the last reconciliation or, if older, the oldest open item."""
        times = [self.meta("reconciled_at") or (self.opened_at() - FIRST_LOOKBACK).isoformat()]
        times += [row["submitted_at"] for row in self.open_orders()]
        times += [order.submitted_at for order in self.unbooked()]
        states = placeholders(len(UNRESOLVED))
        query = f"SELECT written_at FROM intents WHERE state IN ({states})"
        times += [row["written_at"] for row in self._db.execute(query, UNRESOLVED)]
        return min(datetime.fromisoformat(time) for time in times) - OVERLAP
