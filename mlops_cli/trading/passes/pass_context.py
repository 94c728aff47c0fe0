"""What the steps of a pass share: with whom they trade, by which rules, at what time, and the report they write to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mlops_cli.trading.contract.broker import Broker, BrokerClock
from mlops_cli.trading.contract.types import Rules
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.passes.order_window import Window
from mlops_cli.trading.passes.pass_report import PassReport, PassSettings


@dataclass(frozen=True)
class PassContext:
    """A pass from the moment at which the broker has told the time.

    Attributes:
        broker: the team's account.
        ledger: the team's; in a dry run a copy of it in memory.
        rules: of the team.
        settings: how the pass goes.
        clock: the broker's clock at the start.
        window: where that time lies among the sessions.
        report: what the pass has done so far; the steps add to it.
    """

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
