"""`mlops live --replay`: the nightly pass over a past period, evening by evening, with the code that runs live.

A replay that is killed, or stopped, goes on from there when it is run again, and ends with the same result to the bit:
all times come from the clock of the replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from mlops_cli.config.load import Branch, load_branches, load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Params, TrainerKind
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import ConfigError
from mlops_cli.live.passes.live_pass import STEPS, run_pass
from mlops_cli.live.passes.record import ended_steps
from mlops_cli.live.passes.step import PassContext, PassTools, Step
from mlops_cli.live.replay.as_of import ActionsAsOf, PricesAsOf
from mlops_cli.live.replay.evenings import Evening, ReplayPeriod, evenings
from mlops_cli.live.replay.home import ReplayHome, Settings, home_of, locked_home, open_home
from mlops_cli.live.replay.notes import Notes, open_notes
from mlops_cli.live.replay.observe import observe, observe_start
from mlops_cli.live.replay.trading import ReplayTeams
from mlops_cli.pipeline.stages.stage import Progress
from mlops_cli.pipeline.trade.competition import ReplayExchange, replay_exchange
from mlops_cli.pipeline.trade.paper_trade import teams_of
from mlops_cli.prices.actions.action_source import ActionSource
from mlops_cli.prices.sources.source import PriceSource, RawBars
from mlops_cli.trading.contract.broker import Broker
from mlops_cli.training.trainer import Trainer


@dataclass(frozen=True)
class LiveReplay:
    """What to replay.

    Attributes:
        period: the days whose closes are forecast.
        restart: begin anew, and forget what an earlier replay of this start left.
        trade_without_skill: models without skill trade too, even if params.yaml says otherwise.
    """

    period: ReplayPeriod
    restart: bool = False
    trade_without_skill: bool = False


@dataclass(frozen=True)
class LiveReplayTools:
    """The adapters that a replay needs, and the steps of its passes.

    Attributes:
        prices: source of a branch's prices.
        actions: source of a branch's dividends besides the prices, if any.
        trainer: a trainer of a kind for a branch of a project.
        broker: opens a team's account at an exchange, given its address and the team.
        steps: of a pass, by name.
    """

    prices: Callable[[Branch], PriceSource]
    actions: Callable[[Branch], ActionSource | None]
    trainer: Callable[[Project, Branch, TrainerKind], Trainer]
    broker: Callable[[str, str], Broker]
    steps: Mapping[str, Step] = field(default_factory=lambda: STEPS)


@dataclass(frozen=True)
class Replayed:
    """A replay that has reached its end.

    Attributes:
        home: its folder.
        settings: of the project.
        rules: of the teams, by name.
        plan: its passes.
    """

    home: ReplayHome
    settings: Settings
    rules: Mapping[str, Rules]
    plan: Sequence[Evening]


def replay_live(real: Project, wanted: LiveReplay, tools: LiveReplayTools, progress: Progress) -> Replayed:
    """Run the passes that are missing.

    Raises:
        ConfigError: the source cannot be replayed; params, configs or models changed since the replay was begun; it
            has gone further already; or there is no session in the period.
        ModelError: no model is trained, or some were trained on the period.
        DataError: the prices do not reach.
        ServiceError: another process replays the same.
    """
    params = load_params(real)
    branches = load_branches(real, params)
    rules = _rules(params, branches, wanted)
    settings = Settings(params, branches, rules)
    exchanges = {spec.exchange for branch in branches.values() for spec in branch.models}
    plan = evenings(exchanges, wanted.period, params.trading.opens_minutes)
    home = home_of(real, wanted.period.start)
    with locked_home(home):
        open_home(home, settings, plan[-1].session, restart=wanted.restart)
        with _Loop.opened(home, settings, tools, plan) as loop:
            loop.run(plan, progress)
    return Replayed(home, settings, rules, plan)


def _rules(params: Params, branches: Mapping[str, Branch], wanted: LiveReplay) -> dict[str, Rules]:
    changes = {"trade_without_skill": True} if wanted.trade_without_skill else {}
    teams = teams_of(list(branches.values()), ())
    return {team: params.trading.rules(team).model_copy(update=changes) for team in teams}


@dataclass(frozen=True)
class _Loop:
    """Runs the passes of a replay; see `LiveReplayTools` for the tools."""

    home: ReplayHome
    settings: Settings
    tools: LiveReplayTools
    exchange: ReplayExchange
    teams: ReplayTeams
    notes: Notes

    @classmethod
    @contextmanager
    def opened(
        cls, home: ReplayHome, settings: Settings, tools: LiveReplayTools, plan: Sequence[Evening]
    ) -> Iterator[Self]:
        """With the exchange running, and the notes open."""
        folders = [home.market / name for name in settings.branches]
        trading = settings.params.trading
        with ExitStack() as stack:
            notes = stack.enter_context(open_notes(home.notes))
            exchange = stack.enter_context(replay_exchange(folders, plan[0].now, trading.costs, home.exchange_database))
            broker = partial(tools.broker, exchange.address)
            yield cls(
                home, settings, tools, exchange, ReplayTeams(home.project, trading, settings.rules, broker), notes
            )

    def run(self, plan: Sequence[Evening], progress: Progress) -> None:
        """Run the passes that have not ended yet."""
        finished = self.notes.finished()
        further = max(finished, default=plan[0].session)
        if further > plan[-1].session:
            raise ConfigError(
                f"this replay has gone until {further} already",
                "ask for more --days, or begin it anew: add --restart",
            )
        self.notes.begin(observe_start(self.home.project, self.settings.branches.values()))
        progress.start("replay", len(plan))
        progress.done(sum(evening.session in finished for evening in plan))
        read: dict[str, dict[str, RawBars]] = {name: {} for name in self.settings.branches}
        for evening in plan:
            if evening.session not in finished:
                progress.doing(str(evening.session))
                self._pass(evening, read, _Inside(progress, evening))
                progress.done()

    def _pass(self, evening: Evening, read: Mapping[str, dict[str, RawBars]], progress: Progress) -> None:
        """The pass of an evening; until it is noted as ended, it may be run again.

        Then it goes on with the step that was cut short. The steps before it would see what that step has done, such as
        new versions, and judge otherwise than in a pass that was not killed.
        """
        self.exchange.advance(evening.now)
        context = PassContext(
            project=self.home.project,
            params=self.settings.params,
            branches=self.settings.branches,
            now=evening.now,
            tools=self._pass_tools(evening, read),
            progress=progress,
            is_replay=True,
        )
        ended = ended_steps(self.home.project, evening.session, evening.now)
        context.outcomes.extend(ended)
        steps = {name: step for name, step in self.tools.steps.items() if name not in {each.step for each in ended}}
        result = run_pass(context, steps)
        failed = sum(len(outcome.failures) + (outcome.error is not None) for outcome in result.outcomes)
        observed = observe(self.home.project, self.settings.branches, evening.session, self.notes.versions())
        self.notes.finish(evening, observed, failed)

    def _pass_tools(self, evening: Evening, read: Mapping[str, dict[str, RawBars]]) -> PassTools:
        def prices(branch: Branch) -> PriceSource:
            return PricesAsOf(self.tools.prices(branch), evening.now, read[branch.name])

        def actions(branch: Branch) -> ActionSource | None:
            source = self.tools.actions(branch)
            return None if source is None else ActionsAsOf(source)

        return PassTools(
            prices=prices,
            actions=actions,
            trainer=partial(self.tools.trainer, self.home.project),
            teams=list(self.settings.rules),
            trade=lambda team, forecasts: self.teams.trade(team, forecasts, self.notes),
            alert=lambda lines: self.notes.alert(evening, lines),
        )


@dataclass(frozen=True)
class _Inside:
    """Shows what the steps of a pass do beside its session; their own stages are too short to be shown."""

    progress: Progress
    evening: Evening

    def start(self, stage: str, total: int) -> None:
        """Show the stage."""
        self.doing(stage)

    def doing(self, text: str) -> None:
        """Show what is being done now."""
        self.progress.doing(f"{self.evening.session}: {text}")

    def done(self, count: int = 1) -> None:
        """Count nothing: the replay counts sessions."""
