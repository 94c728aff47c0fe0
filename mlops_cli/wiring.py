"""The composition root: the only place that chooses an adapter for a word in the config."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.config.load import Branch, load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.run_environment import RUN_KEY
from mlops_cli.config.schemas.project import TrainerKind, Training
from mlops_cli.config.schemas.source import Source
from mlops_cli.config.secret_checks import refuse_keys_in_the_clear
from mlops_cli.config.settings import Settings, account_keys, any_account_keys, load_settings
from mlops_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from mlops_cli.config.schemas.trading import Trading
    from mlops_cli.config.settings import AccountKeys
    from mlops_cli.exchange.book.engine import Exchange
    from mlops_cli.exchange.market.price_tables import PriceTables
    from mlops_cli.prices.actions.action_source import ActionSource
    from mlops_cli.prices.sources.files.file_format import FileFormat
    from mlops_cli.prices.sources.source import PriceSource
    from mlops_cli.tracking.tracker import RunContext, Tracker, Tracking
    from mlops_cli.trading.alpaca.alpaca_client import AlpacaAccess
    from mlops_cli.trading.contract.broker import Broker
    from mlops_cli.training.trainer import Trainer

IN_MEMORY = ":memory:"


def price_source(project: Project, branch: Branch, settings: Settings) -> PriceSource:
    """The branch's source of prices."""
    match branch.source.kind:
        case "sample":
            from mlops_cli.prices.sources.sample_source import SampleSource

            return SampleSource()
        case "csv":
            from mlops_cli.prices.sources.csv_source import CsvSource

            return CsvSource(project.root / branch.source.folder, _file_format(branch.source), branch.source.file)
        case "yfinance":
            from mlops_cli.prices.sources.yfinance_source import YfinanceSource

            return YfinanceSource(base_url=settings.yahoo_base_url or "")


def action_source(project: Project, branch: Branch, settings: Settings) -> ActionSource | None:
    """The branch's source of dividends besides its prices; None if the prices are all.

    Raises:
        ConfigError: Alpaca is to be asked, and there are no keys, or they would go over plain http.
    """
    match branch.source.actions.kind:
        case "csv":
            from mlops_cli.prices.actions.csv_actions import CsvActions

            actions = branch.source.actions
            folder = project.root / branch.source.folder / actions.folder
            return CsvActions(folder, _file_format(branch.source), actions.file)
        case "alpaca":
            from mlops_cli.prices.actions.alpaca_actions import DATA, AlpacaActions, AlpacaKeys

            refuse_keys_in_the_clear(settings)
            keys = any_account_keys(settings)
            address = (settings.alpaca_data_url or DATA).removesuffix("/v2")
            return AlpacaActions(AlpacaKeys(keys.key.get_secret_value(), keys.secret.get_secret_value(), address))
        case "auto" if branch.source.kind != "yfinance" or branch.period.end is not None:
            return None  # the history of a period that has ended needs no coming ex-dates
        case "yfinance" | "auto":
            from mlops_cli.prices.actions.yfinance_actions import YfinanceActions

            return YfinanceActions(base_url=settings.yahoo_base_url or "")
        case "none":
            return None


def _file_format(source: Source) -> FileFormat:
    """What the settings say about price files."""
    from mlops_cli.prices.sources.files.file_format import FileFormat

    return FileFormat(source.columns, source.decimal, source.dates, source.timezone)


@dataclass(frozen=True)
class LocalExchange:
    """A local exchange that is ready to be served; close it in the end. `origin` says where its prices come from."""

    exchange: Exchange
    tables: PriceTables
    origin: str
    database: str


def local_exchange(
    project: Project | None, prices: Path | None = None, database: str | None = None, start: datetime | None = None
) -> LocalExchange:
    """A paper exchange on this machine.

    Args:
        project: whose prices and database it uses; None without a project.
        prices: folder of price tables; None for the project's prices, or else the sample series.
        database: file to keep the state in, or `IN_MEMORY`; None for the project's file. A replay, or an exchange
            without a project, then stays in memory.
        start: the time of a replay; None for the real time.

    Raises:
        DataError: the folder holds no price tables.
        ConfigError: the database is damaged, or ends later than the clock's time.
        ServiceError: another exchange uses the database.
    """
    from mlops_cli.exchange.book.clock import Clock
    from mlops_cli.exchange.book.engine import Exchange
    from mlops_cli.exchange.book.store import Store
    from mlops_cli.exchange.market.market import Market
    from mlops_cli.market.hours import us_hours

    tables, origin = exchange_prices(project, prices)
    if database is None:
        database = IN_MEMORY if project is None or start is not None else str(project.state / "exchange.db")
    store = None if database == IN_MEMORY else Store(Path(database))
    return LocalExchange(Exchange(Market(tables, us_hours()), Clock(start), store=store), tables, origin, database)


def exchange_prices(project: Project | None, folder: Path | None) -> tuple[PriceTables, str]:
    """Prices of the local exchange, from the first of: `folder`, the project's price tables, the sample.

    Returns:
        The prices, and in words where they come from.

    Raises:
        DataError: `folder` holds no price tables.
    """
    from mlops_cli.exchange.market.price_tables import ParquetTables

    if folder is not None:
        folders = [folder]
    else:
        folders = sorted(project.prices("any").parent.glob("*/")) if project is not None else []
    tables = ParquetTables(folders)
    if tables.symbols:
        return tables, str(folder or "the project's prices")
    if folder is not None:
        raise DataError(f"{folder}: no <TICKER>.parquet price tables", "give a folder such as data/prices/BRANCH")
    return _sample_prices(), "the sample"


def _sample_prices() -> PriceTables:
    from mlops_cli.exchange.market.price_tables import MemoryTables
    from mlops_cli.prices.actions.implied_dividends import implied_steps
    from mlops_cli.prices.sources.sample_source import TICKERS, SampleSource
    from mlops_cli.prices.sources.source import FetchRequest, RawBars
    from mlops_cli.prices.table import assemble

    fetched = [
        bars for bars in SampleSource().fetch(FetchRequest(TICKERS), lambda _: None) if isinstance(bars, RawBars)
    ]
    tables = {raw.ticker: assemble(raw, None, "XNYS", None, None, "").frame for raw in fetched}
    paid = {ticker: implied_steps(table).dividends() for ticker, table in tables.items()}
    return MemoryTables(tables, paid)


def trainer(project: Project, branch: Branch, kind: TrainerKind) -> Trainer:
    """The trainer of a kind, with the branch's training settings."""
    match kind:
        case "ludwig":
            return _ludwig_trainer(project, branch.training)
        case "naive" | "drift":
            from mlops_cli.training.baseline_trainer import BaselineTrainer

            return BaselineTrainer(kind)


def _ludwig_trainer(project: Project, training: Training) -> Trainer:
    graphs, logs = project.state / "graphs", project.state / "logs"
    from mlops_cli.training.local.ludwig_trainer import LudwigTrainer, fleet_settings, worker_settings

    if training.executor == "ray":
        from mlops_cli.training.cluster.ray_trainer import RayTrainer

        return RayTrainer(training, fleet_settings(training))
    from mlops_cli.training.torchrun.torchrun_trainer import Devices, TorchrunTrainer

    if training.strategy in ("ddp", "fsdp"):
        devices = Devices(training.strategy, training.device, training.workers)
        return TorchrunTrainer(logs / "torchrun.log", graphs, devices)
    ranks = TorchrunTrainer(logs / "torchrun.log", graphs, Devices("ddp", "cuda", training.workers))
    return LudwigTrainer(
        worker_settings(project.state, training), fleet_settings(training), training.device, pooled_on_gpus=ranks
    )


def broker(keys: AccountKeys, trading: Trading, settings: Settings) -> Broker:
    """A team's account at Alpaca; see `account_access`."""
    from mlops_cli.trading.alpaca.alpaca_broker import AlpacaBroker

    return AlpacaBroker(account_access(keys, trading, settings))


def brokers(project: Project, teams: Sequence[str]) -> Callable[[str], Broker]:
    """Opens a team's account by its keys.

    Raises:
        ConfigError: a team has no keys, or real money is not meant.
    """
    settings, trading = load_settings(project), load_params(project).trading
    keys = account_keys(settings, teams)
    return lambda team: broker(keys[team], trading, settings)


def account_access(keys: AccountKeys, trading: Trading, settings: Settings) -> AlpacaAccess:
    """Keys and addresses of a team's account: the paper account, or the address in ALPACA_BASE_URL.

    Raises:
        ConfigError: the account trades real money, and not both of trading.live and MLOPS_LIVE_TRADING allow it; or the
            keys would go over plain http to another machine.
    """
    from mlops_cli.trading.alpaca.alpaca_client import LIVE, PAPER, AlpacaAccess, is_real_money

    address = (settings.alpaca_base_url or (LIVE if trading.live else PAPER)).removesuffix("/v2")
    real = trading.live or is_real_money(address)
    if real and not (trading.live and settings.live_trading):
        raise ConfigError(
            f"{address} trades real money: refused",
            "for the paper account leave trading.live and ALPACA_BASE_URL out; for real money set both trading.live: "
            "true in params.yaml and MLOPS_LIVE_TRADING=yes in .env",
        )
    refuse_keys_in_the_clear(settings)
    data = (settings.alpaca_data_url or "").removesuffix("/v2")
    return AlpacaAccess(keys.key.get_secret_value(), keys.secret.get_secret_value(), address, data)


def replay_broker(address: str, team: str) -> Broker:
    """A team's account at the exchange of a replay, which opens an account for any key."""
    from mlops_cli.trading.alpaca.alpaca_broker import AlpacaBroker
    from mlops_cli.trading.alpaca.alpaca_client import AlpacaAccess

    return AlpacaBroker(AlpacaAccess(f"REPLAY-{team}", "replay", address))


def tracker(project: Project, settings: Settings) -> Tracker:
    """MLflow, or a tracker that records nothing where tracking is off."""
    if not settings.tracking:
        from mlops_cli.tracking.tracker import NullTracker

        return NullTracker()
    from mlops_cli.tracking.mlflow_tracker import MlflowTracker
    from mlops_cli.tracking.queued_tracker import QueuedTracker

    uri = settings.mlflow_tracking_uri or f"sqlite:///{project.tracking_database}"
    return QueuedTracker(MlflowTracker(uri, project.root / "mlruns"), project.state / "unlogged")


def tracking(project: Project, branch: str, settings: Settings) -> Tracking:
    """The tracker, with the context of a branch's stage."""
    from mlops_cli.tracking.tracker import Tracking

    return Tracking(tracker(project, settings), run_context(project, branch))


def run_context(project: Project, branch: str) -> RunContext:
    """The run that a branch's stage belongs to, and the code and data that it uses."""
    from mlops_cli.tracking.provenance import data_hash, git_commit
    from mlops_cli.tracking.tracker import RunContext

    return RunContext(
        key=os.environ.get(RUN_KEY, ""),
        branch=branch,
        git_commit=git_commit(project.root),
        data_hash=data_hash(project.lock, f"featurize@{branch}"),
        command=shlex.join(["mlops", *sys.argv[1:]]),
    )
