"""Runs nightly passes against a broker and sources with faults, some of which are killed; see `kill_fuse`.

Orders: folder, url (of the exchange), now (of the pass), faults (of the source), kill_at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock  # noqa: F401 - once here, not in every child
import scipy.stats  # noqa: F401 - the same

from mlops_cli.config.load import load_branches, load_params
from mlops_cli.errors import ServiceError
from mlops_cli.live.passes.live_pass import STEPS, run_pass
from mlops_cli.live.passes.step import PassContext, PassTools
from mlops_cli.live.replay.as_of import PricesAsOf
from mlops_cli.market.hours import us_hours
from mlops_cli.pipeline.trade.paper_trade import TeamForecasts, run_team_pass
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.prices.sources.source import FetchRequest, PriceSource, RawBars, SourceFailure
from mlops_cli.trading.alpaca.alpaca_broker import AlpacaBroker
from mlops_cli.trading.alpaca.alpaca_client import AlpacaAccess, Patience
from mlops_cli.trading.passes.pass_report import PassReport
from tests.fakes.kill_fuse import Order, serve
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.projects import Silent, SmallProject

QUICK = Patience((0.5, 0.25), 3, 0.005)


class FaultySource:
    """A source of prices with faults.

    `down`: it does not answer; `refused`: one ticker fails; `late`: the last session is missing; `restated`: an earlier
    close was corrected.
    """

    local = True

    def __init__(self, source: PriceSource, faults: list[dict[str, str]]) -> None:
        self.name = source.name
        self._source = source
        self._faults = {fault.get("ticker", ""): fault["kind"] for fault in faults}

    def fetch(self, request: FetchRequest, progress: Callable[[str], None]) -> Iterator[RawBars | SourceFailure]:
        if "" in self._faults:
            raise ServiceError("the source does not answer", "run again later")
        for answer in self._source.fetch(request, progress):
            match self._faults.get(answer.ticker):
                case "refused":
                    yield SourceFailure(answer.ticker, f"{answer.ticker}: the source refuses it", 8)
                case "late" if isinstance(answer, RawBars):
                    yield replace(answer, frame=answer.frame.iloc[:-1])
                case "restated" if isinstance(answer, RawBars):
                    yield replace(answer, frame=_corrected(answer))
                case _:
                    yield answer


def _corrected(bars: RawBars) -> Any:
    """Prices whose close of three sessions ago is a little different."""
    frame = bars.frame.copy()
    day = frame.index[-4]
    frame.loc[day, "close"] = (frame.loc[day, "high"] + frame.loc[day, "low"]) / 2
    return frame


def night(order: Order) -> Order:
    """One pass."""
    small = SmallProject(Path(order["folder"]))
    project = small.project
    params = load_params(project)
    now = datetime.fromisoformat(order["now"])
    source = FaultySource(PricesAsOf(CsvSource(small.root / "data" / "incoming"), now), order["faults"])
    broker = AlpacaBroker(AlpacaAccess("KEYRED", "hush-hush", order["url"]), QUICK)

    def trade(team: str, forecasts: TeamForecasts) -> PassReport:
        return run_team_pass(project, team, broker, params.trading, forecasts)

    tools = PassTools(
        prices=lambda branch: source,
        actions=lambda branch: None,
        trainer=lambda branch, kind: small.trainer(kind, LinearTrainer()),
        teams=["red"],
        trade=trade,
    )
    context = PassContext(project, params, load_branches(project, params), now, tools, Silent())
    result = run_pass(context, STEPS)
    told = [str(failure.reason) for outcome in result.outcomes for failure in outcome.failures]
    return {"outcome": "failed" if result.exit_code else "done", "told": told[:5]}


if __name__ == "__main__":
    us_hours()
    serve(night)
