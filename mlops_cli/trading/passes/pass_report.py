"""What the steps of a pass share: settings, context, and the report of what was done."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Self

from mlops_cli.errors import MlopsError
from mlops_cli.trading.contract.broker import Broker, BrokerClock
from mlops_cli.trading.contract.types import Decision, OrderIntent, Rules
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.passes.halt import HaltFiles
from mlops_cli.trading.passes.order_window import Margins, Window


@dataclass(frozen=True)
class PassSettings:
    """Settings of a pass. A dry run sends and writes nothing. In a replay `halts` is None: nothing halts the team."""

    margins: Margins = field(default_factory=Margins)
    dry_run: bool = False
    halts: HaltFiles | None = None


@dataclass
class PassReport:
    """What a pass did.

    Attributes:
        outcome: done, waiting (outside the hours for orders), halted, stopped (the broker failed while orders were
            sent), or failed (with `error`).
        now: the broker's time at the start; None where the broker did not tell it.
        sent: client order ids of the orders that the broker took.
        refused: orders that the broker refused, and why, by client order id.
        stay_refused: orders for the next session that the broker refused in an earlier pass; no pass sends them again
            by itself.
        unknown: orders that the broker may or may not have accepted, and what is known about each, by client order id.
        needs_attention: problems that a person must handle, other than orders and blocked tickers.
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
    stay_refused: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    planned: list[OrderIntent] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    booked: int = 0
    equity: Decimal | None = None
    notes: list[str] = field(default_factory=list)
    needs_attention: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    error: MlopsError | None = None

    @property
    def clean(self) -> bool:
        """Whether there is nothing that a person must handle."""
        troubles = self.unknown, self.blocked, self.refused, self.stay_refused, self.needs_attention
        return not any(troubles) and self.outcome != "stopped"

    def end(self, outcome: str, text: str) -> Self:
        """Set how the pass ended."""
        self.outcome, self.text = outcome, text
        return self


@dataclass(frozen=True)
class PassContext:
    """What a pass works with, once the broker has returned its `clock`. In a dry run `ledger` is a copy in memory."""

    broker: Broker
    ledger: Ledger
    rules: Rules
    settings: PassSettings
    clock: BrokerClock
    window: Window
    report: PassReport

    @property
    def now(self) -> datetime:
        """The broker's time at the start of the pass, in UTC."""
        return self.clock.now

    def halt_reason(self) -> str | None:
        """Why a halt file stops the team; None where none does."""
        return self.settings.halts.reason() if self.settings.halts else None

    def end(self, outcome: str, text: str) -> None:
        """End the pass with an outcome that a person is alerted to."""
        self.report.end(outcome, text).alerts.append(text)
