"""Shares in the account that no order of the team explains: somebody else traded in it, or it held them before.

They are booked like all others, so that the ledger's positions stay those of the broker. But they are not the team's to
sell: their ticker stays blocked until a person accepts them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mlops_cli.trading.contract.broker import BrokerOrder
from mlops_cli.trading.contract.types import order_name_start
from mlops_cli.trading.ledger.connection import LedgerFile
from mlops_cli.trading.ledger.tables import text

_ACCEPTED = "accepted order "  # how a key of `meta` begins; the two below do too, and a ticker follows
OPENING, MOVED = "unexplained at the opening ", "unexplained move "
_WORDS = {
    OPENING: "the account held {} shares before the team's first pass",
    MOVED: "{} shares came by a rename, a merger or a spin-off of shares that may not be the team's",
}
_END = re.compile(r"\d{8}-[bs]-[^/]+")


@dataclass(frozen=True)
class Unexplained:
    """Shares that no order of the team explains.

    Attributes:
        key: the broker's id of their order (of their fill, if it names no order), or how they came; not for people.
        order: the order's client order id; empty if they have no order that is known.
        qty: shares that came, below 0: that went.
    """

    key: str
    ticker: str
    order: str
    qty: Decimal

    @property
    def words(self) -> str:
        """What happened, for people."""
        for start, words in _WORDS.items():
            if self.key.startswith(start):
                return words.format(text(self.qty))
        by = f"order {self.order}" if self.order else f"an order that the broker does not name ({self.key})"
        return f"{text(abs(self.qty))} shares {'bought' if self.qty > 0 else 'sold'} by {by}, which is not the team's"


class UnexplainedShares(LedgerFile):
    """The part of a ledger that tells the team's orders from those of others."""

    def is_own(self, client_order_id: str, ticker: str) -> bool:
        """Whether an order is the team's: it was planned here, or it bears a name that only the team gives.

        The second is for orders of a ledger that was lost.
        """
        planned = self._db.execute("SELECT 1 FROM intents WHERE client_order_id = ?", (client_order_id,)).fetchone()
        return planned is not None or is_name_of(self.team, ticker, client_order_id)

    def unexplained(self) -> list[Unexplained]:
        """Shares that no order of the team explains and no person has accepted, by ticker."""
        accepted = {row["key"]: row["value"] for row in self._db.execute("SELECT key, value FROM meta")}
        shares = [entry for entry in self._by_others() if accepted.get(_ACCEPTED + entry.key) != text(entry.qty)]
        shares += [
            Unexplained(key, key.removeprefix(start), "", Decimal(value))
            for key, value in accepted.items()
            for start in _WORDS
            if key.startswith(start)
        ]
        return sorted(shares, key=lambda entry: (entry.ticker, entry.key))

    def note_unexplained(self, how: str, ticker: str, qty: Decimal) -> None:
        """Note shares without an order that nothing of the team explains; `how` they came: `OPENING` or `MOVED`."""
        self.set_meta(how + ticker, text(qty) or "0")

    def accept_unexplained(self, ticker: str) -> None:
        """Take the unexplained shares of a ticker, as they are known now, for the team's."""
        for entry in self.unexplained():
            if entry.ticker == ticker and entry.key.startswith(tuple(_WORDS)):
                self._db.execute("DELETE FROM meta WHERE key = ?", (entry.key,))
            elif entry.ticker == ticker:
                self.set_meta(_ACCEPTED + entry.key, text(entry.qty) or "0")

    def _by_others(self) -> list[Unexplained]:
        """What orders of others brought since the opening, accepted or not; each order once."""
        shares: dict[str, Unexplained] = {}
        fills = self._db.execute(
            "SELECT f.id, f.order_id, f.ticker, f.side, f.qty, o.client_order_id FROM fills f "
            "LEFT JOIN orders o ON o.id = f.order_id LEFT JOIN intents i USING (client_order_id) "
            "WHERE i.client_order_id IS NULL"
        )
        for row in fills:
            self._add(shares, row["order_id"] or row["id"], row, Decimal(row["qty"]))
        # the broker may tell of an order's fills before, or without, telling of each of them
        orders = self._db.execute(
            "SELECT o.id, o.ticker, o.side, o.filled_qty, o.client_order_id FROM orders o "
            "LEFT JOIN intents i USING (client_order_id) "
            "WHERE i.client_order_id IS NULL AND o.filled_qty != '0' AND o.submitted_at >= ?",
            (self.meta("opened_at") or "",),
        )
        for row in orders:
            booked = abs(shares[row["id"]].qty) if row["id"] in shares else Decimal(0)
            self._add(shares, row["id"], row, max(Decimal(row["filled_qty"]) - booked, Decimal(0)))
        return list(shares.values())

    def _add(self, shares: dict[str, Unexplained], key: str, row: Any, qty: Decimal) -> None:
        name = row["client_order_id"] or ""
        if is_name_of(self.team, row["ticker"], name):
            return
        before = shares[key].qty if key in shares else Decimal(0)
        shares[key] = Unexplained(key, row["ticker"], name, before + (qty if row["side"] == "buy" else -qty))


def is_name_of(team: str, ticker: str, client_order_id: str) -> bool:
    """Whether a client order id is one that `types.client_order_id` makes for this team and ticker."""
    start = next((start for start in order_name_start(team, ticker) if client_order_id.startswith(start)), None)
    return start is not None and _END.fullmatch(client_order_id.removeprefix(start)) is not None


def filled_by_team(orders: Sequence[BrokerOrder], team: str) -> dict[str, Decimal]:
    """Shares by ticker that the team's own orders brought, as their names tell."""
    shares: dict[str, Decimal] = {}
    for order in orders:
        if is_name_of(team, order.ticker, order.client_order_id):
            qty = order.filled_qty if order.side == "buy" else -order.filled_qty
            shares[order.ticker] = shares.get(order.ticker, Decimal(0)) + qty
    return shares
