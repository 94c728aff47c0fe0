"""The ledger of one team: every decision, intent, order and fill, written down before anything is sent.

SQLite with a write-ahead log and `synchronous=FULL`: what was committed survives a killed process and a power cut.
Times are UTC and given by the caller (the broker's clock), so that a replay's ledger holds the replay's time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from mlops_cli.errors import ConfigError
from mlops_cli.trading.contract.broker import Activities, BrokerOrder
from mlops_cli.trading.contract.types import AccountState, Decision, OrderIntent
from mlops_cli.trading.ledger.connection import LedgerFile
from mlops_cli.trading.ledger.tables import (
    Unbooked,
    decision_values,
    intent_of,
    intent_values,
    marks,
    order_values,
    text,
)

UNRESOLVED = ("written", "unknown")
ACCEPTED = "accepted by hand"
OVERLAP = timedelta(days=1)
OF_LATE = timedelta(days=14)
FIRST_LOOK = timedelta(days=90)
"""As long as Alpaca keeps an order open: those that a lost ledger, or a person, has sent must be found."""


class Ledger(LedgerFile):
    """One team's ledger; open it with `opening.open_ledger`, and nobody else writes to it meanwhile."""

    def open_account(self, account: str, cash: Decimal, holdings: Mapping[str, Decimal], now: datetime) -> None:
        """Begin: what the account held before the ledger knew it."""
        with self._writing():
            self.set_meta("account", account)
            self.set_meta("opened_at", now.isoformat())
            self.set_meta("opening_cash", text(cash) or "0")
            self._db.executemany(
                "INSERT INTO holdings VALUES (?, ?)", [(ticker, text(qty)) for ticker, qty in holdings.items()]
            )
            self.event(now, "opened", None, f"{cash} USD in cash, {len(holdings)} positions")

    # -- decisions and intents

    def decided(self, session: date) -> bool:
        """Whether a session's orders were decided on."""
        found = self._db.execute("SELECT 1 FROM passes WHERE session = ?", (session.isoformat(),)).fetchone()
        return found is not None

    def write_decisions(self, session: date, decisions: Sequence[Decision], now: datetime) -> None:
        """Write a session's decisions and the intents among them: all or nothing."""
        time = now.isoformat()
        intents = [decision.intent for decision in decisions if decision.intent is not None]
        intents.sort(key=lambda intent: intent.side == "buy")  # what frees money goes first
        with self._writing():
            self._db.execute("INSERT INTO passes VALUES (?, ?)", (session.isoformat(), time))
            self._db.executemany(
                f"INSERT INTO decisions VALUES ({marks(15)})", [decision_values(one, time) for one in decisions]
            )
            self._add_intents(intents, time)

    def write_intents(self, intents: Sequence[OrderIntent], now: datetime) -> None:
        """Write intents that no decision of a model stands behind; those that are there already stay as they are."""
        with self._writing():
            self._add_intents(intents, now.isoformat())

    def _add_intents(self, intents: Sequence[OrderIntent], time: str) -> None:
        rows = [(*intent_values(intent), "written", "", time, time) for intent in intents]
        self._db.executemany(f"INSERT OR IGNORE INTO intents VALUES ({marks(19)})", rows)

    def unresolved(self) -> list[OrderIntent]:
        """Intents of which it is not known whether the broker took them, in the order they were written."""
        found = self._db.execute(
            f"SELECT * FROM intents WHERE state IN ({marks(len(UNRESOLVED))}) ORDER BY rowid", UNRESOLVED
        )
        return [intent_of(row) for row in found]

    def names_of(self, model: str) -> set[str]:
        """The client order ids of a model's intents."""
        return {row[0] for row in self._db.execute("SELECT client_order_id FROM intents WHERE model = ?", (model,))}

    def set_state(self, client_order_id: str, state: str, now: datetime, note: str = "") -> None:
        """What became of an intent: sent, refused, unknown or void (never taken, and too late now)."""
        self._db.execute(
            "UPDATE intents SET state = ?, note = ?, changed_at = ? WHERE client_order_id = ?",
            (state, note, now.isoformat(), client_order_id),
        )

    def sent_notional(self, session: date) -> Decimal:
        """Worth of the orders sent for a session, at the prices their decisions saw."""
        found = self._db.execute(
            "SELECT qty, notional, price_seen FROM intents WHERE session = ? AND state IN ('sent', 'unknown')",
            (session.isoformat(),),
        )
        return sum(
            (Decimal(row["notional"] or 0) or Decimal(row["qty"]) * Decimal(row["price_seen"]) for row in found),
            Decimal(0),
        )

    # -- what the broker says

    def record_orders(self, orders: Sequence[BrokerOrder], now: datetime) -> None:
        """Write orders as the broker sees them; our intents among them were sent."""
        if not orders:
            return
        with self._writing():
            self._db.executemany(
                f"INSERT OR REPLACE INTO orders VALUES ({marks(16)})", [order_values(one, now) for one in orders]
            )
            self._db.executemany(
                "UPDATE intents SET state = 'sent', note = '', changed_at = ? "
                "WHERE client_order_id = ? AND state != 'sent'",
                [(now.isoformat(), order.client_order_id) for order in orders],
            )

    def note_unfilled(self, now: datetime) -> list[str]:
        """Which of our orders of late came to nothing, wholly or in part; each told once."""
        query = (
            "SELECT o.* FROM orders o JOIN intents USING (client_order_id) WHERE o.submitted_at >= ? AND o.final = 1 "
            "AND o.status NOT IN ('filled', 'replaced') AND NOT EXISTS "
            "(SELECT 1 FROM events WHERE kind = 'unfilled' AND text LIKE o.client_order_id || ':%')"
        )
        told = []
        for row in self._db.execute(query, ((now - OF_LATE).isoformat(),)).fetchall():
            done = f", {row['filled_qty']} shares filled" if row["filled_qty"] != "0" else ""
            words = f"{row['client_order_id']}: {row['status']} by the broker{done}"
            self.event(now, "unfilled", row["ticker"], words)
            # one that was cancelled was so by somebody, and a limit may be missed
            if row["status"] == "rejected" or (row["status"] == "expired" and row["type"] == "market"):
                told.append(words)
        return told

    def record_activities(self, activities: Activities) -> int:
        """Book fills and the rest, each once however often it is told; how many were new."""
        before, opened = self._db.total_changes, self.opened_at()
        with self._writing():
            self._db.executemany(
                "INSERT OR IGNORE INTO fills VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (f.id, f.order_id, f.ticker, f.side, text(f.qty), text(f.price), f.time.isoformat())
                    for f in activities.fills
                    if f.time > opened  # what came before is in the holdings that the ledger began with
                ],
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO activities(id, kind, ticker, qty, cash, day) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (a.id, a.kind, a.ticker, text(a.qty), text(a.cash), a.day.isoformat())
                    for a in activities.others
                    if a.time > opened
                ],
            )
            new = self._db.total_changes - before
            self._close_booked()
        return new

    def accept_position(self, ticker: str, qty: Decimal, now: datetime) -> None:
        """Take the broker's word for a position that the ledger cannot explain.

        Raises:
            ConfigError: no pass has opened the ledger yet.
        """
        if self.meta("account") is None:
            raise ConfigError("this ledger has no account yet", "the first pass opens one: mlops paper-trade")
        difference = qty - self.expected_positions().get(ticker, Decimal(0))
        day = now.date().isoformat()
        row = (f"hand-{ticker}-{now.isoformat()}", ACCEPTED, ticker, text(difference), "0", day, text(difference), 1)
        with self._writing():
            self._db.execute("INSERT INTO activities VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            self.event(now, "accepted", ticker, f"{text(difference)} shares that no fill explains")

    def unsettled(self, ticker: str) -> list[sqlite3.Row]:
        """Splits and other movements of a ticker's shares that are not in its expected position yet, oldest first."""
        query = "SELECT * FROM activities WHERE ticker = ? AND settled = 0 AND qty != '0' ORDER BY day, id"
        return self._db.execute(query, (ticker,)).fetchall()

    def settle(self, activity: str, moved: Decimal, now: datetime) -> None:
        """Count a movement: so many shares came with it and with those that are not settled before it."""
        with self._writing():
            self._db.execute("UPDATE activities SET moved = ?, settled = 1 WHERE id = ?", (text(moved), activity))
            row = self._db.execute("SELECT kind, ticker FROM activities WHERE id = ?", (activity,)).fetchone()
            self.event(now, "moved", row["ticker"], f"{text(moved)} shares by {row['kind']}")

    def settle_rest(self, differing: Sequence[str]) -> None:
        """Take movements of tickers on which ledger and broker agree for explained."""
        query = f"UPDATE activities SET settled = 1 WHERE settled = 0 AND ticker NOT IN ({marks(len(differing))})"
        self._db.execute(query, tuple(differing))

    def open_orders(self) -> list[sqlite3.Row]:
        """Orders that may still be filled, each with `session`: that of its intent, None where it is not ours."""
        return self._db.execute(
            "SELECT o.*, i.session FROM orders o LEFT JOIN intents i USING (client_order_id) WHERE o.final = 0"
        ).fetchall()

    def unbooked(self) -> list[Unbooked]:
        """Orders whose booked fills are not what the broker says was filled."""
        return [
            Unbooked(row["ticker"], row["client_order_id"], row["submitted_at"], filled, booked)
            for row in self._not_booked()
            if (filled := Decimal(row["filled_qty"])) != (booked := self._booked(row["id"]))
        ]

    def _not_booked(self) -> list[sqlite3.Row]:
        query = "SELECT * FROM orders WHERE booked = 0 AND submitted_at >= ?"
        return self._db.execute(query, (self.meta("opened_at") or "",)).fetchall()

    def _booked(self, order: str) -> Decimal:
        found = self._db.execute("SELECT qty FROM fills WHERE order_id = ?", (order,))
        return sum((Decimal(row["qty"]) for row in found), Decimal(0))

    def _close_booked(self) -> None:
        """Look no more at orders that are over and booked in full; else each pass would look at all there ever were."""
        rows = [row for row in self._not_booked() if row["final"]]
        done = [(row["id"],) for row in rows if Decimal(row["filled_qty"]) == self._booked(row["id"])]
        self._db.executemany("UPDATE orders SET booked = 1 WHERE id = ?", done)

    def expected_positions(self, before: date = date.max) -> dict[str, Decimal]:
        """What must be held by all that is booked (up to the day before `before`), by ticker; zeros left out."""
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
        """What must be in cash by all that is booked."""
        cash = Decimal(self.meta("opening_cash") or 0)
        for row in self._db.execute("SELECT side, qty, price FROM fills"):
            cash += (-1 if row["side"] == "buy" else 1) * Decimal(row["qty"]) * Decimal(row["price"])
        return cash + sum((Decimal(row["cash"]) for row in self._db.execute("SELECT cash FROM activities")), Decimal(0))

    # -- blocks, equity, events

    def set_blocks(self, blocks: Mapping[str, str], now: datetime) -> list[str]:
        """Replace the blocked tickers; those that are blocked newly."""
        before = {row["ticker"]: row for row in self._db.execute("SELECT * FROM blocks")}
        new = [ticker for ticker in blocks if ticker not in before]
        if {ticker: row["reason"] for ticker, row in before.items()} == dict(blocks):
            return []
        with self._writing():
            self._db.execute("DELETE FROM blocks")
            for ticker, reason in blocks.items():
                since = before[ticker]["since"] if ticker in before else now.isoformat()
                self._db.execute("INSERT INTO blocks VALUES (?, ?, ?)", (ticker, reason, since))
            for ticker in new:
                self.event(now, "blocked", ticker, blocks[ticker])
            for ticker in before.keys() - blocks.keys():
                self.event(now, "unblocked", ticker, before[ticker]["reason"])
        return new

    def record_equity(self, session: date, account: AccountState, now: datetime) -> None:
        """Write what the account is worth after a session; a later look replaces an earlier one."""
        self._db.execute(
            "INSERT OR REPLACE INTO equity VALUES (?, ?, ?, ?)",
            (session.isoformat(), text(account.equity), text(account.cash), now.isoformat()),
        )

    def equity_curve(self) -> list[tuple[date, Decimal]]:
        """Equity after each session seen, rising."""
        found = self._db.execute("SELECT session, equity FROM equity ORDER BY session")
        return [(date.fromisoformat(row["session"]), Decimal(row["equity"])) for row in found]

    def peak(self) -> Decimal:
        """Highest equity seen since a limit last halted the team: who resumes it has taken note of the loss."""
        found = self._db.execute(
            "SELECT equity FROM equity WHERE time >= (SELECT COALESCE(MAX(time), '') FROM events WHERE kind = 'halted')"
        )
        return max((Decimal(row["equity"]) for row in found), default=Decimal(0))

    def last_decided(self) -> date | None:
        """The last session that was decided on."""
        found = self._db.execute("SELECT MAX(session) FROM passes").fetchone()[0]
        return None if found is None else date.fromisoformat(found)

    def opened_at(self) -> datetime:
        """When the ledger began to know the account."""
        return datetime.fromisoformat(self.meta("opened_at") or "1971-01-01T00:00:00+00:00")

    def horizon(self) -> datetime:
        """From when on the broker may know more than the ledger: what is open or not booked in full, and a day."""
        times = [self.meta("reconciled_at") or (self.opened_at() - FIRST_LOOK).isoformat()]
        times += [row["submitted_at"] for row in self.open_orders()]
        times += [one.submitted_at for one in self.unbooked()]
        states = marks(len(UNRESOLVED))
        query = f"SELECT written_at FROM intents WHERE state IN ({states})"
        times += [row["written_at"] for row in self._db.execute(query, UNRESOLVED)]
        return min(datetime.fromisoformat(time) for time in times) - OVERLAP
