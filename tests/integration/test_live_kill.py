"""Random faults of source and broker, and `kill -9` at any line of a nightly pass: nothing is lost, doubled or changed.

Everything is real: ingest, features, training of linear models, the journal, the exchange over HTTP, alpaca-py, SQLite
on disk, and SIGKILL. Each seed is a run of its own; the same seed kills at the same lines. All 1,000: `make test-soak`.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.config.load import load_branches, load_params
from mlops_cli.errors import DataError
from mlops_cli.live.journal.frames import journal_frame
from mlops_cli.live.journal.gap import UNEXPLAINED, gap
from mlops_cli.live.journal.opening import read_journal
from mlops_cli.live.journal.records import Forecast
from mlops_cli.live.journal.replaying import Replayer, replay_issued
from mlops_cli.live.passes.ingest import ingest_step
from mlops_cli.live.passes.live_pass import run_pass
from mlops_cli.live.passes.step import PassContext, PassTools
from mlops_cli.live.replay.as_of import PricesAsOf
from mlops_cli.market.hours import us_hours
from mlops_cli.models.manifest import file_hashes, read_manifest
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import archive, model_versions
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.prices.sources.csv_source import CsvSource
from tests.fakes.exchange_server import ExchangeServer, exchange_server
from tests.fakes.kill_fuse import KilledProcesses
from tests.fakes.ledger_and_exchange import check_ledger
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import Silent, SmallProject, small_project

SHORT, LONG = 20, 1000
SESSIONS = 3
AT_A_TIME = 2
LINES = 2600
"""About as many as a pass of two stocks runs; beyond them it ends before it is killed."""
TICKERS = ("AAA", "BBB")
MODELS = {"red-aaa", "red-bbb"}
PRICES = {ticker: random_prices(700, seed) for seed, ticker in enumerate(TICKERS)}
NIGHTS = PRICES["AAA"].index[-SESSIONS - 4 : -2]
"""The first is the evening before: prices are known, and nothing is issued."""
BROKER_FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 500, "method": "POST", "when": "before", "times": 1},
    {"kind": "status", "status": 504, "method": "POST", "when": "after", "times": 1},
    {"kind": "status", "status": 503, "method": "GET", "times": 2},
    {"kind": "timeout", "method": "POST", "when": "after", "seconds": 0.4, "times": 1},
    {"kind": "drop", "method": "POST", "when": "after", "times": 2},
    {"kind": "drop", "probability": 0.1, "when": "after"},
    {"kind": "partial_fills", "fraction": 0.3, "seconds": 600.0, "times": 2},
    {"kind": "reject_orders", "times": 1},
]
SOURCE_FAULTS: list[list[dict[str, str]]] = [
    [{"kind": "down"}],
    [{"kind": "refused", "ticker": "AAA"}],
    [{"kind": "late", "ticker": "BBB"}],
    [{"kind": "late", "ticker": "AAA"}, {"kind": "late", "ticker": "BBB"}],
    [{"kind": "restated", "ticker": "AAA"}],
]


def evening(night: int) -> datetime:
    """21 minutes after the close of a night's session."""
    day = NIGHTS[night].date()
    return us_hours().between(day, day)[0].closes + timedelta(minutes=21)


@lru_cache(maxsize=1)
def template(folder: Path) -> Path:
    """A trained project that has the prices of the evening before the first night."""
    small = small_project(folder / "template", TICKERS)
    params = small.root / "params.yaml"
    params.write_text(
        params.read_text()
        + "trading: {trade_without_skill: true, lot_fraction: 0.1, daily_loss_limit: 1.0, max_drawdown: 1.0}\n"
        + "live: {retrain: {max_age_sessions: 2}}\nserving: {keep_versions: 50}\n"
    )
    small.run(LinearTrainer())
    source = PricesAsOf(CsvSource(small.root / "data" / "incoming"), evening(0))
    tools = PassTools(lambda _: source, lambda _: None, lambda _, kind: small.trainer(kind, LinearTrainer()))
    loaded = load_params(small.project)
    branches = load_branches(small.project, loaded)
    context = PassContext(small.project, loaded, branches, evening(0), tools, Silent())
    assert run_pass(context, {"ingest": ingest_step}).exit_code == 0
    return small.root


class Life:
    """A project that lives through some bad nights.

    Attributes:
        seen: the forecasts that were in the journal at any time, with the time of issue.
        outcomes: what the passes came to.
    """

    def __init__(self, root: Path, runner: KilledProcesses, server: ExchangeServer, seed: int) -> None:
        self.small = SmallProject(root)
        self.project = self.small.project
        self.seen: dict[Forecast, datetime] = {}
        self.outcomes: Counter[str] = Counter()
        self._runner = runner
        self._server = server
        self._chance = random.Random(seed)
        self._seed = seed

    def live(self) -> None:
        for night in range(1, SESSIONS + 1):
            self._server.advance(evening(night).isoformat())
            self._bad_evening(night)
            if self._chance.random() < 0.7:  # else nobody looks after it, and the session goes by
                self._server.clear()
                self._good_pass(night)
        self._server.advance(to="next_close", seconds=21 * 60)
        self._server.clear()
        # one session more is needed to settle and to book what the last night sent
        self._good_pass(SESSIONS + 1)
        self._good_pass(SESSIONS + 1)

    def _bad_evening(self, night: int) -> None:
        chance = self._chance
        for fault in chance.sample(BROKER_FAULTS, chance.randint(0, 2)):
            self._server.sim("POST", "faults", **fault)
        self._server.sim("POST", "faults", seed=self._seed)
        for _ in range(chance.randint(1, 2)):
            faults = chance.choice(SOURCE_FAULTS) if chance.random() < 0.5 else []
            self._pass(night, faults, chance.randint(1, LINES) if chance.random() < 0.75 else None)

    def _good_pass(self, night: int) -> None:
        answer = self._pass(night, [], None)
        assert answer["outcome"] == "done", f"seed {self._seed}: {answer}"
        with read_journal(self.project.journal) as journal:
            day = NIGHTS[night].date()
            issued = {f.forecast.model for f in journal.forecasts() if f.forecast.session == day}
        assert issued == MODELS, f"seed {self._seed}: a forecast is missing"

    def _pass(self, night: int, faults: list[dict[str, str]], kill_at: int | None) -> dict[str, Any]:
        answer = self._runner.run(
            folder=str(self.small.root),
            url=self._server.url,
            now=evening(night).isoformat(),
            faults=faults,
            kill_at=kill_at,
        )
        self.outcomes[answer["outcome"]] += 1
        self._look()
        return answer

    def _look(self) -> None:
        """What was issued once stays as it was issued."""
        try:
            with read_journal(self.project.journal) as journal:
                now = {each.forecast: each.issued_at for each in journal.forecasts()}
        except DataError:
            assert not self.seen, f"seed {self._seed}: the journal is gone"
            return  # it was not made, or the process that made it was killed
        lost = {forecast.key for forecast, at in self.seen.items() if now.get(forecast) != at}
        assert not lost, f"seed {self._seed}: lost or changed: {lost}"
        keys = Counter(forecast.key for forecast in now)
        assert max(keys.values(), default=1) == 1, f"seed {self._seed}: issued twice"
        self.seen = now

    def check(self) -> int:
        """Journal against replay, versions, and ledger against exchange; how many orders there were."""
        for folder in self._version_folders():
            assert file_hashes(folder) == read_manifest(folder).files, f"seed {self._seed}: {folder} is half installed"
        with read_journal(self.project.journal) as journal:
            frame = journal_frame(journal.batches())
        table = gap(frame, replay_issued(frame, self._version, self._table))
        assert UNEXPLAINED not in set(table["cause"]), f"seed {self._seed}:\n{table}"
        return check_ledger(self._server.exchange, self.project.ledger("red"), self._seed)

    def _version_folders(self) -> Iterator[Path]:
        for model in sorted(MODELS):
            yield self.project.models("main") / model
            yield from archive(self.project.model_root, "main", model).glob("[!.]*/")

    def _version(self, branch: str, model: str, version: str) -> Replayer | None:
        versions = {each.version: each for each in model_versions(self.project.model_root, branch, model)}
        chosen = versions.get(version)
        assert chosen is not None, f"seed {self._seed}: {model} {version} issued a forecast, and is gone"
        return Replayer(chosen.manifest, Model(chosen.folder, chosen.manifest).forecasts)

    def _table(self, branch: str, model: str) -> Any:
        return read_table(self.project.features(branch), model)


def some(tmp_path: Path, seeds: range) -> tuple[Counter[str], int]:
    """One after another, in one runner: what the passes came to, and how many orders there were."""
    outcomes: Counter[str] = Counter()
    orders = 0
    runner = KilledProcesses("tests.fakes.live_pass_runner")
    try:
        for seed in seeds:
            root = tmp_path / str(seed)
            shutil.copytree(template(tmp_path), root)
            with exchange_server(PRICES, start=evening(0).isoformat()) as server:
                life = Life(root, runner, server, seed)
                life.live()
                orders += life.check()
            outcomes += life.outcomes
            shutil.rmtree(root)
    finally:
        runner.close()
    return outcomes, orders


def soak(tmp_path: Path, seeds: range) -> None:
    template(tmp_path)
    parts = [seeds[start::AT_A_TIME] for start in range(AT_A_TIME)]
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        found = list(threads.map(lambda part: some(tmp_path, part), parts))
    outcomes = sum((each for each, _ in found), Counter())
    orders = sum(each for _, each in found)
    print(f"{len(seeds)} seeds, {orders} orders, passes: {dict(outcomes)}")
    assert outcomes["killed"] > len(seeds), "the point of it all"
    assert outcomes["done"] > 0
    assert orders > len(seeds)


def test_killed_passes_lose_double_and_change_nothing(tmp_path):
    soak(tmp_path, range(SHORT))


@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_a_thousand_killed_passes_lose_double_and_change_nothing(tmp_path):
    soak(tmp_path, range(SHORT, SHORT + LONG))
