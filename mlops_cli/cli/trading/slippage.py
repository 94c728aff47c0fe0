"""`mlops ledger slippage`: what fills cost, beside the cost model and the local exchange."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_cli.cli.options import JsonFlag, ProjectOption, open_project
from mlops_cli.cli.output import print_json, print_table, say

HEADS = ("TEAM", "SESSION", "ORDERS", "USD", "FILLS BPS", "MODEL BPS", "LOCAL BPS", "UNPRICED", "UNFILLED HERE")


def slippage(
    team: Annotated[
        str | None, typer.Option("--team", metavar="TEAM", help="This team alone; all if left out.", show_default=False)
    ] = None,
    folder: ProjectOption = None,
    as_json: JsonFlag = False,
) -> None:
    """How much worse than the opening price orders were filled, session by session.

    In basis points of what was traded: as they were filled, as the cost model of params.yaml says, and as the local
    exchange would have filled the same orders.
    """
    from mlops_cli.config.load import load_branches, load_params
    from mlops_cli.pipeline.trade.slippage import slippage_report

    project = open_project(folder)
    params = load_params(project)
    found = slippage_report(project, list(load_branches(project, params)), params.trading, team)
    if as_json:
        print_json(found)
        return
    if not any(found.values()):
        say("no filled orders yet")
    rows = [
        (
            name,
            row["session"],
            row["orders"],
            f"{row['traded']:,.0f}",
            *("-" if row[key] is None else f"{row[key]:.2f}" for key in ("fills_bps", "model_bps", "local_bps")),
            row["unpriced"],
            row["unfilled_here"],
        )
        for name, days in found.items()
        for row in days
    ]
    print_table(HEADS, rows)
