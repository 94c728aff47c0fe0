"""A team whose forecasts follow from the day and a seed alone, and the pass it runs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import pandas as pd

from mlops_cli.config.schemas.trading import Rules
from mlops_cli.trading.alpaca.alpaca_broker import AlpacaBroker
from mlops_cli.trading.alpaca.alpaca_client import AlpacaAccess, Patience
from mlops_cli.trading.contract.types import TradeForecast
from mlops_cli.trading.ledger.opening import claim_account, open_ledger
from mlops_cli.trading.passes.halt import HaltFiles
from mlops_cli.trading.passes.liquidate import Liquidation, liquidate
from mlops_cli.trading.passes.paper_pass import PassReport, PassSettings, SessionForecasts, paper_pass

VERSION = "1a2b3c4d5e6f"
QUICK = Patience((0.5, 0.25), 3, 0.005)
RULES = Rules(lot_fraction=0.1, max_weight=0.3, daily_loss_limit=1.0, max_drawdown=1.0)


class PaperTeam:
    """Team red with an account, a ledger file and forecasts.

    Args:
        url: of the exchange.
        folder: of the ledger and the halt files.
        prices: by ticker.
        seed: of the forecasts, and part of the account's key.
    """

    def __init__(self, url: str, folder: Path, prices: Mapping[str, pd.DataFrame], seed: int = 0) -> None:
        self.broker = AlpacaBroker(AlpacaAccess(f"KEYRED{seed:06d}", f"hush-hush-{seed:06d}", url), QUICK)
        self.folder = folder
        self.ledger_file = folder / "red.db"
        self.halts = HaltFiles(folder, "red")
        self.rules = RULES
        self.strength: float | None = None
        self.version = VERSION
        self.last: PassReport | None = None
        self._prices = prices
        self._seed = seed

    def forecasts(self, session: date, target: date) -> SessionForecasts:
        """From -250 to 250 basis points by chance, or `strength` for all."""
        made = []
        for ticker, table in self._prices.items():
            chance = random.Random(f"{self._seed} {ticker} {session}").uniform(-0.025, 0.025)
            if pd.Timestamp(session) in table.index:
                close = Decimal(str(round(float(table["close"][pd.Timestamp(session)]), 4)))
                value = chance if self.strength is None else self.strength
                name = f"red-{ticker.lower()}"
                made.append(TradeForecast(name, ticker, "red", session, target, close, value, self.version, "skill"))
        return SessionForecasts(made)

    def run(self, *, dry_run: bool = False) -> PassReport:
        """One pass."""
        account = self.broker.account_id()
        with open_ledger(self.ledger_file, "red") as ledger, claim_account(self.folder, account, "red"):
            settings = PassSettings(dry_run=dry_run, halts=self.halts)
            report = paper_pass(self.broker, ledger, self.forecasts, self.rules, settings)
        self.last = report
        if report.error is not None:
            raise report.error
        return report

    def liquidate(self) -> Liquidation:
        """Sell everything; the team is not halted."""
        account = self.broker.account_id()
        with open_ledger(self.ledger_file, "red") as ledger, claim_account(self.folder, account, "red"):
            return liquidate(self.broker, ledger)

    def rows(self, table: str) -> Sequence[dict]:
        """A table of the ledger."""
        with open_ledger(self.ledger_file, "red") as ledger:
            return ledger.rows(table)
