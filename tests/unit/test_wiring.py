"""The composition root: every word of the config gives its adapter, and what is missing gives its error."""

from __future__ import annotations

import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest
from pydantic import SecretStr

from mlops_cli import wiring
from mlops_cli.config.paths import Project
from mlops_cli.config.run_environment import RUN_KEY
from mlops_cli.config.schemas.project import Period, Training
from mlops_cli.config.schemas.source import Source
from mlops_cli.config.schemas.trading import Trading
from mlops_cli.config.settings import AccountKeys, Settings
from mlops_cli.errors import ConfigError, DataError
from mlops_cli.pipeline.stages.tables import write_table
from mlops_cli.prices.actions.action_source import ActionRequest, Listing
from mlops_cli.prices.actions.csv_actions import CsvActions
from mlops_cli.prices.actions.yfinance_actions import YfinanceActions
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.prices.sources.sample_source import TICKERS, SampleSource
from mlops_cli.prices.sources.source import FetchRequest
from mlops_cli.prices.sources.yfinance_source import YfinanceSource
from mlops_cli.tracking.mlflow_tracker import MlflowTracker
from mlops_cli.tracking.queued_tracker import QueuedTracker
from mlops_cli.tracking.tracker import NullTracker
from mlops_cli.trading.alpaca.alpaca_broker import AlpacaBroker
from mlops_cli.trading.alpaca.alpaca_client import AlpacaAccess
from mlops_cli.training.baseline_trainer import BaselineTrainer
from mlops_cli.training.cluster.ray_trainer import RayTrainer
from mlops_cli.training.local.ludwig_trainer import LudwigTrainer
from mlops_cli.training.torchrun.torchrun_trainer import TorchrunTrainer
from tests.fakes.branches import branch_of
from tests.fakes.fake_corporate_actions import KEY, FakeCorporateActions
from tests.fakes.price_tables import random_prices
from tests.fakes.train_jobs import model_spec

SPEC = model_spec("red-a", ticker="A")
KEYS = AccountKeys(SecretStr("key"), SecretStr("secret"))


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment, which wins over what a test says, holds none of our variables."""
    for name in list(os.environ):
        if name.startswith(("MLOPS_", "MLFLOW_", "ALPACA_", "YAHOO_")):
            monkeypatch.delenv(name)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


class TestPriceSource:
    @pytest.mark.parametrize(
        ("kind", "adapter"), [("sample", SampleSource), ("csv", CsvSource), ("yfinance", YfinanceSource)]
    )
    def test_each_kind_has_its_adapter(self, project: Project, kind: str, adapter: type) -> None:
        source = wiring.price_source(project, branch_of(SPEC, source=Source(kind=kind)), Settings())
        assert type(source) is adapter

    def test_the_csv_folder_is_relative_to_the_project(self, project: Project) -> None:
        folder = project.root / "my" / "files"
        folder.mkdir(parents=True)
        columns = ["Open", "High", "Low", "Close", "Adj Close", "Volume"]
        random_prices(30).set_axis(columns, axis=1).rename_axis("Date").to_csv(folder / "A.csv")
        source = wiring.price_source(project, branch_of(SPEC, source=Source(kind="csv", folder="my/files")), Settings())
        (bars,) = source.fetch(FetchRequest(["A"], exchanges={"A": "XNYS"}), lambda _: None)
        assert len(bars.frame) == 30

    def test_the_settings_of_price_files_reach_the_csv_source(self, project: Project) -> None:
        text = "Tag;Open;High;Low;Settle;Volume;symbol\n02/03/2024;11,924;12,1;11,1;11,9;900;A\n"
        (project.root / "all.csv").write_text(text)
        said = Source(kind="csv", folder=".", file="all.csv", columns={"Tag": "date", "Settle": "close"}, decimal=",",
                      dates="day-first", timezone="UTC")  # fmt: skip
        source = wiring.price_source(project, branch_of(SPEC, source=said), Settings())
        (bars,) = source.fetch(FetchRequest(["A"], exchanges={"A": "XNYS"}), lambda _: None)
        assert bars.frame["close"].to_dict() == {pd.Timestamp("2024-03-02"): 11.9}


class TestActionSource:
    def source(self, project: Project, settings: Settings | None = None, period: Period | None = None, **keys: object):
        branch = branch_of(SPEC, source=Source.model_validate(keys), period=period or Period())
        return wiring.action_source(project, branch, settings or Settings())

    def test_prices_alone_unless_yahoo_may_know_more(self, project: Project) -> None:
        assert self.source(project) is None
        assert self.source(project, kind="csv") is None
        assert self.source(project, kind="yfinance", actions={"kind": "none"}) is None
        assert isinstance(self.source(project, kind="yfinance"), YfinanceActions)
        assert self.source(project, period=Period(end=date(2024, 1, 1)), kind="yfinance") is None

    def test_each_kind_has_its_adapter(self, project: Project) -> None:
        assert isinstance(self.source(project, actions={"kind": "csv"}), CsvActions)
        assert isinstance(self.source(project, actions={"kind": "yfinance"}), YfinanceActions)

    def test_the_folder_is_inside_that_of_the_prices(self, project: Project) -> None:
        source = self.source(project, folder="my/files", actions={"kind": "csv", "folder": "paid"})
        with pytest.raises(ConfigError, match="my/files/paid is not a folder"):
            source.fetch(ActionRequest({"A": "XNYS"}, datetime.now(UTC)), lambda _: None)

    def test_alpaca_takes_the_keys_of_any_team(self, project: Project) -> None:
        with FakeCorporateActions() as server:
            server.dividend("A", "2024-05-09", 0.5)
            keys = {"ALPACA_API_KEY_RED": SecretStr(KEY), "ALPACA_SECRET_KEY_RED": SecretStr("s")}
            settings = Settings.model_validate(
                {"ALPACA_API_KEY_<TEAM>, ALPACA_SECRET_KEY_<TEAM>": keys, "ALPACA_DATA_URL": f"{server.url}/v2"}
            )
            source = self.source(project, settings, actions={"kind": "alpaca"})
            assert source is not None
            listing = source.fetch(ActionRequest({"A": "XNYS"}, datetime.now(UTC)), lambda _: None).by_ticker["A"]
        assert isinstance(listing, Listing)
        assert [dividend.amount for dividend in listing.dividends] == [0.5]

    def test_alpaca_without_keys_is_a_mistake_in_the_config(self, project: Project) -> None:
        with pytest.raises(ConfigError, match="ALPACA_API_KEY and ALPACA_SECRET_KEY are not set"):
            self.source(project, actions={"kind": "alpaca"})


class TestExchangePrices:
    def test_a_folder_comes_first(self, project: Project, tmp_path: Path) -> None:
        write_table(tmp_path / "mine", "AAA", random_prices(30))
        write_table(project.prices("main"), "BBB", random_prices(30))
        tables, words = wiring.exchange_prices(project, tmp_path / "mine")
        assert sorted(tables.symbols) == ["AAA"]
        assert words == str(tmp_path / "mine")

    def test_then_the_prices_of_all_branches_of_the_project(self, project: Project) -> None:
        write_table(project.prices("main"), "AAA", random_prices(30))
        write_table(project.prices("second"), "BBB", random_prices(30))
        tables, words = wiring.exchange_prices(project, None)
        assert sorted(tables.symbols) == ["AAA", "BBB"]
        assert words == "the project's prices"

    @pytest.mark.parametrize("inside", [True, False])
    def test_then_the_sample(self, project: Project, inside: bool) -> None:
        tables, words = wiring.exchange_prices(project if inside else None, None)
        assert sorted(tables.symbols) == sorted(TICKERS)
        assert words == "the sample"

    def test_an_empty_folder_is_refused_not_replaced(self, project: Project, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no <TICKER>\.parquet price tables"):
            wiring.exchange_prices(project, tmp_path / "empty")


class TestTrainer:
    @pytest.mark.parametrize("kind", ["naive", "drift"])
    def test_baselines_are_trained_here_whatever_the_settings(self, project: Project, kind: str) -> None:
        branch = branch_of(SPEC, training=Training(executor="ray", strategy="fsdp"))
        trainer = wiring.trainer(project, branch, kind)
        assert type(trainer) is BaselineTrainer
        assert trainer.name == kind

    @pytest.mark.parametrize(
        ("settings", "adapter"),
        [
            ({}, LudwigTrainer),
            ({"strategy": "fleet"}, LudwigTrainer),
            ({"strategy": "ddp"}, TorchrunTrainer),
            ({"strategy": "fsdp"}, TorchrunTrainer),
            ({"executor": "ray"}, RayTrainer),
        ],
        ids=str,
    )
    def test_strategy_and_executor_choose_how_ludwig_trains(
        self, project: Project, settings: dict[str, str], adapter: type
    ) -> None:
        trainer = wiring.trainer(project, branch_of(SPEC, training=Training(**settings)), "ludwig")
        assert type(trainer) is adapter


class TestBroker:
    PAPER, REAL = "https://paper-api.alpaca.markets", "https://api.alpaca.markets"

    def access(self, trading: Trading | None = None, **settings: object) -> AlpacaAccess:
        return wiring.account_access(KEYS, trading or Trading(), Settings(**settings))

    def test_without_an_address_it_is_the_paper_account(self) -> None:
        access = self.access()
        assert (access.key, access.secret, access.address, access.data_address) == ("key", "secret", self.PAPER, "")
        assert type(wiring.broker(KEYS, Trading(), Settings())) is AlpacaBroker

    @pytest.mark.parametrize("suffix", ["", "/v2"])
    def test_a_local_exchange_needs_no_switch(self, suffix: str) -> None:
        access = self.access(ALPACA_BASE_URL=f"http://127.0.0.1:8081{suffix}")
        assert access.address == access.market_data == "http://127.0.0.1:8081"

    def test_market_data_may_have_an_address_of_their_own(self) -> None:
        access = self.access(ALPACA_DATA_URL="https://data.example.org/v2")
        assert (access.address, access.market_data) == (self.PAPER, "https://data.example.org")

    @pytest.mark.parametrize(
        ("live", "setting", "address"),
        [
            (True, False, None),
            (False, False, REAL),
            (False, True, REAL),
            (True, False, f"{REAL}/v2"),
            (True, False, PAPER),
        ],
    )
    def test_real_money_needs_both_switches(self, live: bool, setting: bool, address: str | None) -> None:
        with pytest.raises(ConfigError, match="trades real money: refused") as caught:
            self.access(Trading(live=live), MLOPS_LIVE_TRADING=setting, ALPACA_BASE_URL=address)
        assert "trading.live" in caught.value.hint
        assert "MLOPS_LIVE_TRADING" in caught.value.hint

    def test_both_switches_open_the_real_account(self) -> None:
        assert self.access(Trading(live=True), MLOPS_LIVE_TRADING=True).address == self.REAL

    def test_the_setting_alone_leaves_the_paper_account(self) -> None:
        assert self.access(MLOPS_LIVE_TRADING=True).address == self.PAPER


class TestTracking:
    def test_tracking_off_records_nothing(self, project: Project) -> None:
        assert type(wiring.tracker(project, Settings(MLOPS_TRACKING=False))) is NullTracker

    def test_tracking_on_is_mlflow_which_is_not_imported_yet(self, project: Project) -> None:
        before = set(sys.modules)
        tracker = wiring.tracker(project, Settings())
        assert type(tracker) is QueuedTracker
        assert type(tracker._inner) is MlflowTracker
        assert not {name for name in set(sys.modules) - before if name.partition(".")[0] == "mlflow"}
        assert not project.tracking_database.exists()

    def test_the_context_is_that_of_the_branch_and_the_run(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(RUN_KEY, "2026-01-05")
        monkeypatch.setattr(sys, "argv", ["/somewhere/mlops", "train", "--only", "red *"])
        lock = "stages:\n  featurize@main:\n    outs: [{md5: 4567.dir}]\n"
        project.lock.write_text(lock)
        tracking = wiring.tracking(project, "main", Settings(MLOPS_TRACKING=False, MLOPS_API_TOKEN="x"))
        assert type(tracking.tracker) is NullTracker
        context = tracking.context
        assert (context.key, context.branch, context.data_hash) == ("2026-01-05", "main", "4567.dir")
        assert context.command == "mlops train --only 'red *'"
        assert wiring.run_context(project, "second").data_hash == ""

    def test_a_stage_outside_of_a_run_has_no_key(self, project: Project) -> None:
        context = wiring.run_context(project, "main")
        assert (context.key, context.git_commit, context.data_hash) == ("", "", "")
