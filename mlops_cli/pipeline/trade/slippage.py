"""`mlops ledger slippage`: the fills in the teams' ledgers, compared with the project's prices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.trading import Trading
from mlops_cli.errors import DataError
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import ParquetTables
from mlops_cli.market.hours import us_hours
from mlops_cli.trading.ledger.opening import read_ledger
from mlops_cli.trading.results.slippage import filled_orders, slippage_by_day


def slippage_report(
    project: Project, branches: Sequence[str], trading: Trading, team: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Slippage by team and session; see `results.slippage.slippage_by_day`.

    Args:
        project: the project.
        branches: names of the branches whose prices are used.
        trading: the teams' cost models.
        team: only this team; None for all teams that have a ledger.

    Raises:
        DataError: a ledger or a price table is damaged, or the team has no ledger.
    """
    names = sorted(path.stem for path in project.ledgers.glob("*.db")) if team is None else [team]
    if team is not None and not project.ledger(team).is_file():
        raise DataError(f"team {team} has no ledger", "the first pass makes it: mlops paper-trade")
    market = Market(ParquetTables([project.prices(branch) for branch in branches]), us_hours())
    report = {}
    for name in names:
        with read_ledger(project.ledger(name)) as ledger:
            orders = filled_orders(ledger.rows("orders"), ledger.rows("intents"), ledger.rows("fills"))
        report[name] = slippage_by_day(orders, market, trading.rules(name).costs)
    return report
