"""The project of its own in which a past period is replayed: what it is made of, and when it is refused."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.config.load import load_branches, load_params
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError, DataError, MlopsError, ModelError, ServiceError
from mlops_cli.live.replay.home import ReplayHome, Settings, home_of, locked_home, open_home
from mlops_cli.models.manifest import read_manifest
from tests.fakes.live_replays import START, replay_project
from tests.fakes.projects import SmallProject

LAST = date(2017, 6, 21)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return replay_project(tmp_path_factory.mktemp("trained") / "p").root


@pytest.fixture
def small(trained: Path, tmp_path: Path) -> SmallProject:
    return SmallProject(shutil.copytree(trained, tmp_path / "p"))


def opened(small: SmallProject, *, restart: bool = False, last: date = LAST, start: date = START) -> ReplayHome:
    params = load_params(small.project)
    branches = load_branches(small.project, params)
    home = home_of(small.project, start)
    open_home(home, Settings(params, branches, {"red": params.trading.rules("red")}), last, restart=restart)
    return home


def change(small: SmallProject, old: str, new: str, file: str = "params.yaml") -> None:
    path = small.root / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_it_is_a_project_with_the_models_of_the_real_one(small: SmallProject) -> None:
    home = opened(small)
    project = Project.at(home.project.root)
    assert project.root == small.root / ".mlops" / "live-replay" / str(START)
    assert load_branches(project, load_params(project)).keys() == {"main"}
    for name in ("red-aaa", "red-bbb"):
        assert read_manifest(project.models("main") / name) == read_manifest(small.project.models("main") / name)
    assert not project.prices("main").exists(), "the first pass fetches them"
    assert (home.market / "main" / "AAA.parquet").is_file()
    assert home.start == START


def test_what_the_real_project_does_later_does_not_change_it(small: SmallProject) -> None:
    home = opened(small)
    before = (home.market / "main" / "AAA.parquet").read_bytes()
    small.prices("AAA", small_prices(small))
    small.run()
    assert (small.project.prices("main") / "AAA.parquet").read_bytes() != before
    assert (home.market / "main" / "AAA.parquet").read_bytes() == before


def small_prices(small: SmallProject) -> Any:
    import pandas as pd

    table = pd.read_csv(small.root / "data" / "incoming" / "AAA.csv", index_col="Date", parse_dates=True)
    return table.set_axis(["open", "high", "low", "close", "adj_close", "volume"], axis=1).iloc[:-5]


def test_it_is_taken_up_again(small: SmallProject) -> None:
    home = opened(small)
    (home.project.root / "left").write_text("by an earlier pass")
    opened(small)
    assert (home.project.root / "left").is_file()
    opened(small, restart=True)
    assert not (home.project.root / "left").exists()


def test_a_killed_making_is_made_again(small: SmallProject) -> None:
    root = home_of(small.project, START).project.root
    half = root.with_name(f".{root.name}.part")
    half.mkdir(parents=True)
    (half / "params.yaml").write_text("half")
    home = opened(small)
    assert not half.exists()
    assert load_params(home.project) == load_params(small.project)


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [
        ("params.yaml", "kind: csv", "kind: csv, decimal: '.'", "params.yaml and configs"),
        ("configs/mine/linear.yaml", "volatility: [5]", "volatility: [9]", "configs"),
    ],
)
def test_changed_settings_are_refused_until_it_begins_anew(
    small: SmallProject, file: str, old: str, new: str, what: str
) -> None:
    opened(small)
    change(small, old, new, file)
    with pytest.raises(ConfigError, match=f"^{what} changed since the replay from {START} on was begun") as error:
        opened(small)
    assert "--restart" in error.value.hint
    opened(small, restart=True)


def test_models_that_were_trained_again_are_refused(small: SmallProject) -> None:
    opened(small)
    shutil.rmtree(small.project.models("main") / "red-bbb")
    with pytest.raises(ConfigError, match=r"^models changed"):
        opened(small)


def test_comments_in_the_settings_may_change(small: SmallProject) -> None:
    opened(small)
    change(small, "branches:", "# a comment\nbranches:")
    opened(small)


def test_models_that_know_the_period_are_refused(small: SmallProject) -> None:
    until = read_manifest(small.project.models("main") / "red-aaa").trained_until
    with pytest.raises(ModelError, match=r"2 of 2 models were trained on .* or later: red-aaa \(until") as error:
        opened(small, start=until)
    assert "scenario's start" in error.value.hint


def test_without_models_there_is_nothing_to_begin_with(small: SmallProject) -> None:
    shutil.rmtree(small.project.model_root)
    with pytest.raises(ModelError, match="no model is trained"):
        opened(small)


def test_a_model_that_is_not_trained_does_not_stop_the_others(small: SmallProject) -> None:
    shutil.rmtree(small.project.models("main") / "red-bbb")
    home = opened(small)
    assert [path.name for path in home.project.models("main").iterdir()] == ["red-aaa"]


def test_prices_must_reach(small: SmallProject) -> None:
    with pytest.raises(DataError, match=r"the prices end on 2017-10-\d\d, and the replay needs those of 2018-01-02"):
        opened(small, last=date(2018, 1, 2))
    assert not home_of(small.project, START).project.root.exists(), "nothing is left behind"


def test_no_prices_at_all_are_refused(small: SmallProject) -> None:
    shutil.rmtree(small.project.prices("main"))
    with pytest.raises(DataError, match="no prices yet"):
        opened(small)


def test_it_cannot_be_extended_beyond_its_own_prices(small: SmallProject) -> None:
    opened(small)
    with pytest.raises(DataError, match="the prices end on") as error:
        opened(small, last=date(2018, 1, 2))
    assert "--restart" in error.value.hint


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("source: {kind: yfinance}", "source yfinance cannot be replayed"),
        ("source: {kind: csv, actions: {kind: alpaca}}", "dividends of alpaca cannot be replayed"),
    ],
)
def test_sources_on_the_internet_are_refused(small: SmallProject, new: str, words: str) -> None:
    change(small, "source: {kind: csv}", new)
    with pytest.raises(ConfigError, match=words):
        opened(small)


def test_two_processes_do_not_replay_the_same(small: SmallProject) -> None:
    home = opened(small)
    with locked_home(home), pytest.raises(MlopsError) as error, locked_home(home):
        pass
    assert isinstance(error.value, ServiceError)
    with locked_home(home_of(small.project, date(2017, 7, 3))):
        pass  # another replay may run
    with locked_home(home):
        pass


def test_links_to_the_real_project_take_no_space(small: SmallProject) -> None:
    home = opened(small)
    size = home.bytes_on_disk()
    market = sum(path.stat().st_size for path in home.market.rglob("*.parquet"))
    assert 0 < size < market
