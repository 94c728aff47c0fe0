"""Replays of the nightly pass in a small project on generated prices, with linear models and the local exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from mlops_cli import wiring
from mlops_cli.live.passes.live_pass import STEPS
from mlops_cli.live.passes.step import Step
from mlops_cli.live.replay.evenings import ReplayPeriod
from mlops_cli.live.replay.replay import LiveReplay, LiveReplayTools, Replayed, replay_live
from mlops_cli.live.replay.report import write_report
from mlops_cli.live.replay.result import replay_result
from mlops_cli.prices.sources.csv_source import CsvSource
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.projects import SCENARIO_START, Silent, SmallProject, small_project

START = date.fromisoformat(SCENARIO_START)
DAYS = 21
"""15 sessions."""


def replay_project(root: Path, tickers: Sequence[str] = ("AAA", "BBB")) -> SmallProject:
    """A trained project: prices from 2015 to the autumn of 2017, models that know nothing from `START` on."""
    small = small_project(root, tickers)
    with (small.root / "params.yaml").open("a") as params:
        params.write("live: {retrain: {max_age_sessions: 4}}\n")
    small.run(LinearTrainer())
    return small


def tools_of(small: SmallProject, **changes: Any) -> LiveReplayTools:
    """The csv source, linear trainers, and alpaca-py against the exchange of the replay."""
    adapters = {
        "prices": lambda branch: CsvSource(small.root / "data" / "incoming"),
        "actions": lambda branch: None,
        "trainer": lambda project, branch, kind: small.trainer(kind, LinearTrainer()),
        "broker": wiring.replay_broker,
    }
    return LiveReplayTools(**{**adapters, **changes})


def run_replay(
    small: SmallProject,
    *,
    days: int = DAYS,
    restart: bool = False,
    steps: Mapping[str, Step] = STEPS,
    progress: Any = None,
    **changes: Any,
) -> Replayed:
    """Replay from START on; models without skill trade too."""
    wanted = LiveReplay(ReplayPeriod(START, days), restart, trade_without_skill=True)
    return replay_live(small.project, wanted, tools_of(small, steps=steps, **changes), progress or Silent())


def reported(small: SmallProject, **options: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Replay and report: the result, and the report's files by name."""
    replayed = run_replay(small, **options)
    result = replay_result(replayed)
    folder = write_report(replayed, result)
    return result, {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
