"""The settings of a pass, and the report of what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Self

from mlops_cli.errors import MlopsError
from mlops_cli.trading.contract.types import Decision, OrderIntent
from mlops_cli.trading.passes.halt import HaltFiles
from mlops_cli.trading.passes.order_window import Margins


@dataclass(frozen=True)
class PassSettings:
    """Settings of a pass.

    Attributes:
        margins: minutes to keep from a close and an open.
        dry_run: decide and show; send and write nothing.
        halts: the kill switch; None where there is none, as in a replay.
    """

    margins: Margins = field(default_factory=Margins)
    dry_run: bool = False
    halts: HaltFiles | None = None


@dataclass
class PassReport:
    """What a pass did.

    Attributes:
        outcome: done, waiting (outside the hours for orders), halted, stopped (the broker failed while orders were
            sent), or failed (with `error`).
        text: the outcome in words.
        now: the broker's time at the start; None where the broker did not tell it.
        target: the session that orders are for; None where the broker did not tell the time.
        decisions: made by this pass.
        sent: client order ids of the orders that the broker took.
        refused: orders that the broker refused, and why, by client order id.
        unknown: orders that the broker may have taken, and what is known, by client order id.
        planned: intents that a dry run would send.
        blocked: tickers that nothing is sent in, and why.
        missing: models without a forecast, and why.
        booked: number of fills and other activities that were new.
        equity: of the account, in USD.
        notes: further remarks.
        needs: what else needs a person, besides orders and blocked tickers.
        alerts: what a person is alerted to.
        error: what ended the pass early; the report still holds what was done before it.
    """

    team: str
    outcome: str = "done"
    text: str = ""
    now: datetime | None = None
    target: date | None = None
    decisions: list[Decision] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    planned: list[OrderIntent] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    booked: int = 0
    equity: Decimal | None = None
    notes: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    error: MlopsError | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing needs a person."""
        return not (self.unknown or self.blocked or self.refused or self.needs or self.outcome == "stopped")

    def end(self, outcome: str, text: str) -> Self:
        """Set how the pass ended."""
        self.outcome, self.text = outcome, text
        return self
