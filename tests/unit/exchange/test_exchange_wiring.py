"""The local exchange that `mlops exchange serve` runs: its prices, its clock and its database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlops_cli import wiring
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError, DataError, ServiceError
from tests.fakes.price_tables import random_prices

START = datetime(2024, 1, 2, 21, 30, tzinfo=UTC)


def project_at(folder: Path) -> Project:
    (folder / "params.yaml").touch()
    return Project.at(folder)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose branch main has prices of AAPL and BRK-B."""
    project = project_at(tmp_path)
    folder = project.prices("main")
    folder.mkdir(parents=True)
    for seed, ticker in enumerate(("AAPL", "BRK-B")):
        random_prices(100, seed, start="2023-12-01").to_parquet(folder / f"{ticker}.parquet")
    return project


def test_a_project_gives_its_prices_and_keeps_the_state(project: Project) -> None:
    local = wiring.local_exchange(project)
    assert (local.tables.symbols, local.origin) == ({"AAPL", "BRK.B"}, "the project's prices")
    assert local.database == str(project.state / "exchange.db")
    assert local.exchange.state.clock.standing is None
    assert datetime.now(UTC) - local.exchange.state.now < timedelta(minutes=1)
    local.exchange.account("key", "secret")
    local.exchange.commit()
    local.exchange.close()
    again = wiring.local_exchange(project)
    assert list(again.exchange.state.accounts) == ["key"]
    again.exchange.close()


def test_a_replay_begins_at_its_start_and_stays_in_memory(project: Project) -> None:
    local = wiring.local_exchange(project, start=START)
    assert local.exchange.state.now == local.exchange.state.clock.standing == START
    assert local.database == wiring.IN_MEMORY
    local.exchange.account("key", "secret")
    local.exchange.commit()
    assert not project.state.exists()


def test_a_replay_keeps_its_state_if_a_database_is_named(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "replay.db"
    wiring.local_exchange(project, database=str(file), start=START).exchange.close()
    assert file.is_file()


def test_a_folder_comes_before_the_project(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    random_prices(100, 3, start="2023-12-01").to_parquet(folder / "MSFT.parquet")
    local = wiring.local_exchange(project, folder, wiring.IN_MEMORY)
    assert (local.tables.symbols, local.origin) == ({"MSFT"}, str(folder))


@pytest.mark.parametrize("with_project", [False, True])
def test_without_price_tables_the_sample_series_are_traded(tmp_path: Path, with_project: bool) -> None:
    local = wiring.local_exchange(project_at(tmp_path) if with_project else None, start=START)
    assert local.origin == "the sample"
    assert local.tables.symbols == {"AAPL", "FB", "GOOG", "IBM", "MSFT"}
    assert local.exchange.state.price("IBM") > 0


def test_without_a_project_the_state_stays_in_memory(project: Project) -> None:
    assert wiring.local_exchange(None, project.prices("main")).database == wiring.IN_MEMORY


def test_an_empty_folder_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no <TICKER>\.parquet price tables"):
        wiring.local_exchange(project, tmp_path)


def test_a_database_has_one_exchange(project: Project) -> None:
    first = wiring.local_exchange(project)
    with pytest.raises(ServiceError, match="another exchange is running"):
        wiring.local_exchange(project)
    first.exchange.close()


def test_a_database_of_the_future_is_refused_and_released(project: Project) -> None:
    database = str(project.state / "exchange.db")
    replay = wiring.local_exchange(project, None, database, datetime.now(UTC) + timedelta(days=100))
    replay.exchange.account("key", "secret")
    replay.exchange.commit()
    replay.exchange.close()
    for _ in range(2):
        with pytest.raises(ConfigError, match="the exchange's database ends at"):
            wiring.local_exchange(project)


def test_a_replay_continues_where_its_database_ends(project: Project, tmp_path: Path) -> None:
    database = str(tmp_path / "replay.db")
    first = wiring.local_exchange(project, None, database, START)
    first.exchange.account("key", "secret")
    first.exchange.commit()
    first.exchange.close()
    again = wiring.local_exchange(project, None, database, START - timedelta(days=1))
    assert again.exchange.state.now == again.exchange.state.clock.now() == START
    again.exchange.close()


def test_the_sample_pays_the_dividends_that_its_adjusted_closes_imply() -> None:
    tables = wiring.local_exchange(None, start=START).tables
    paid = {symbol: tables.dividends(symbol, tables.table(symbol)) for symbol in ("IBM", "GOOG")}
    assert len(paid["IBM"]) > 40
    assert all(0 < amount < 1 for amount in paid["IBM"].values()), "dollars per share"
    assert paid["GOOG"] == {}
