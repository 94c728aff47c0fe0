"""What every step of a pass gets, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Params, TrainerKind
from mlops_cli.errors import MlopsError
from mlops_cli.market.sessions import last_finished_session
from mlops_cli.pipeline.stages.stage import ItemFailure, Progress
from mlops_cli.pipeline.trade.paper_trade import TeamForecasts
from mlops_cli.prices.actions.action_source import ActionSource
from mlops_cli.prices.sources.source import PriceSource
from mlops_cli.trading.passes.pass_report import PassReport
from mlops_cli.training.trainer import Trainer


@dataclass(frozen=True)
class PassTools:
    """The adapters that a pass needs.

    Attributes:
        prices: source of a branch's prices.
        actions: source of a branch's dividends besides the prices, if any.
        trainer: a branch's trainer of a kind.
        teams: teams that have an account.
        trade: runs a team's paper-trade pass on these forecasts; raises as `pipeline.trade.paper_trade.run_team_pass`.
        alert: tells people some lines; False: nobody could be told.
    """

    prices: Callable[[Branch], PriceSource]
    actions: Callable[[Branch], ActionSource | None]
    trainer: Callable[[Branch, TrainerKind], Trainer]
    teams: Sequence[str] = ()
    trade: Callable[[str, TeamForecasts], PassReport] | None = None
    alert: Callable[[Sequence[str]], bool | None] = lambda lines: False


@dataclass(frozen=True)
class PassContext:
    """What a step works on.

    Attributes:
        project: whose models and data.
        params: its params.yaml.
        branches: all branches, by name.
        now: when the pass began, in UTC; in a replay the time that is replayed.
        dry_run: say what would be done, and write nothing.
        outcomes: of the steps of this pass that have ended.
        is_replay: the pass is one of the past: whoever kills it must get the same result in the end.
    """

    project: Project
    params: Params
    branches: Mapping[str, Branch]
    now: datetime
    tools: PassTools
    progress: Progress
    dry_run: bool = False
    outcomes: list[StepOutcome] = field(default_factory=list)
    is_replay: bool = False

    def last_session(self, exchange: str) -> date:
        """The last session of an exchange that had closed when the pass began.

        Raises:
            ConfigError: the exchange has no calendar.
        """
        return last_finished_session(exchange, pd.Timestamp(self.now)).date()

    @property
    def session(self) -> date:
        """The newest session that had closed on any of the models' exchanges: what the pass is known by."""
        exchanges = {spec.exchange for branch in self.branches.values() for spec in branch.models}
        return max(self.last_session(exchange) for exchange in exchanges)


@dataclass(frozen=True)
class Trouble:
    """Something that a person should know of. It is told once, as long as it lasts.

    Attributes:
        key: what it is about, e.g. `health:main/red-aapl`. A trouble whose key a later pass no longer has is over.
        text: one sentence.
        command: what to type next.
        is_event: it happened once, such as a correction of prices: nobody is told that it is over.
    """

    key: str
    text: str
    command: str = ""
    is_event: bool = False


@dataclass
class StepOutcome:
    """What a step did.

    Attributes:
        step: its name.
        done: how many items it changed.
        unchanged: how many items had nothing to be done.
        failures: the items that it could not finish.
        lines: sentences for the user.
        troubles: what people should know of.
        figures: numbers and texts for `--json` and the record of the pass.
        error: an error that ended the step as a whole, if any.
    """

    step: str
    done: int = 0
    unchanged: int = 0
    failures: list[ItemFailure] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def fail(self, model: str, error: MlopsError) -> None:
        """Note that an item could not be finished."""
        self.failures.append(ItemFailure(model, self.step, str(error), error.exit_code))

    def extend(self, failures: Sequence[ItemFailure]) -> None:
        """Note failures of stages, under this step's name."""
        self.failures += [replace(failure, stage=self.step) for failure in failures]


type Step = Callable[[PassContext], StepOutcome]
"""A step. It may be killed at any point and called again: it does only what is missing."""
