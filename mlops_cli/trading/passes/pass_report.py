"""How a pass goes, and what it did."""

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
    """How a pass goes.

    Attributes:
        margins: minutes to keep from a close and an open.
        dry_run: decide and show, send nothing, write nothing.
        halts: the kill switch; None where there is none, as in a replay.
    """

    margins: Margins = field(default_factory=Margins)
    dry_run: bool = False
    halts: HaltFiles | None = None


@dataclass
class PassReport:
    """What a pass did.

    Attributes:
        outcome: done, waiting (no time to send), halted, stopped (the broker went away while orders were sent), or
            failed (with `error`).
        text: the same in words.
        needs: what else a person must see to, besides orders and blocked tickers.
        error: what ended the pass before its time; what was done up to then stands here all the same.
        alerts: what somebody should look at.
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
        """How it ended."""
        self.outcome, self.text = outcome, text
        return self
