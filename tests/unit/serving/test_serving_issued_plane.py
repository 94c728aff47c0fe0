"""A data plane with a journal: which forecasts it shows when models are retrained, unloaded, damaged or averaged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.live.issued.journal_forecasts import JournalForecasts
from mlops_cli.live.journal.making import newest_forecast
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.models.manifest import MANIFEST
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering_version
from mlops_cli.serving.answering.session_ages import SessionAges, SessionTimes
from mlops_cli.serving.contract.messages import Forecast
from mlops_cli.serving.data_plane import DataPlane
from tests.fakes.served_projects import BRANCH, COLUMNS, install_model, served_project

DAYS = pd.bdate_range("2024-01-01", periods=6, name="session")
CALENDAR = pd.bdate_range("2024-01-01", periods=20)
TIMES = SessionTimes(
    [day.date() for day in CALENDAR],
    [day.to_pydatetime().replace(hour=21, tzinfo=UTC).timestamp() for day in CALENDAR],
)
EVENING = datetime(2024, 1, 5, 22, tzinfo=UTC)
"""After the close of the newest session of all tables."""
NAMES = ("red-a", "blue-a", "red-b")
BOTH = {"a-both": {"models": ["red-a", "blue-a"], "weights": {"red-a": 0.75, "blue-a": 0.25}}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = served_project(tmp_path / "p", NAMES)
    for name in NAMES:
        table(made, name)
    return made


def table(root: Path, name: str, shift: float = 0.0, last_close: float = 14.0) -> None:
    values = np.random.default_rng(len(name)).standard_normal((5, len(COLUMNS))) + shift
    days = {"target_session": DAYS[1:], "last_close": [10.0, 11.0, 12.0, 13.0, last_close], "next_close": np.nan}
    path = Project.at(root).features(BRANCH) / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(values, DAYS[:5], list(COLUMNS)).assign(**days).to_parquet(path)


def issue(root: Path, *names: str) -> None:
    project = Project.at(root)
    forecasts = []
    for name in names:
        version = answering_version(project.model_root, BRANCH, name)
        rows = pd.read_parquet(project.features(BRANCH) / f"{name}.parquet")
        forecaster = Model(version.folder, version.manifest).forecasts
        forecasts.append(newest_forecast(version.manifest, BRANCH, rows, forecaster))
    with open_journal(project.journal) as journal:
        assert journal.issue(forecasts, EVENING).issued == len(names)


def run(
    root: Path, work: Callable[[DataPlane], Awaitable[Any]], now: datetime = EVENING, ensembles: dict | None = None
) -> Any:
    async def whole() -> Any:
        project = Project.at(root)
        settings = Serving.model_validate({"ensembles": ensembles or {}})
        ages = SessionAges(lambda _: TIMES, lambda: now)
        plane = DataPlane(project, settings, None, JournalForecasts(project.journal), ages)
        await plane.start()
        try:
            return await work(plane)
        finally:
            await plane.stop()

    return asyncio.run(whole())


async def latest(plane: DataPlane, names: Sequence[str] | None = None) -> dict[str, Forecast]:
    return {forecast.model: forecast for forecast in (await plane.latest(names))[0]}


def test_issued_where_there_is_one_and_computed_where_not(root: Path) -> None:
    issue(root, "red-a", "red-b")

    async def work(plane: DataPlane) -> None:
        computed = {forecast.model: forecast for forecast in (await plane.latest(computed=True))[0]}
        shown = await latest(plane)
        assert [shown[name].source for name in NAMES] == ["journal", "computed", "journal"]
        assert shown["red-a"].log_return == pytest.approx(computed["red-a"].log_return, abs=1e-7)
        assert (shown["red-a"].issued_at, shown["red-a"].superseded) == (EVENING, None)
        assert plane.measures()["resident_models"] == 3, "of the computed ones"

    run(root, work)


def test_issued_ones_need_no_model_in_memory(root: Path) -> None:
    issue(root, *NAMES)

    async def work(plane: DataPlane) -> None:
        assert {forecast.source for forecast in (await latest(plane)).values()} == {"journal"}
        assert plane.measures()["resident_models"] == 0

    run(root, work)


def test_a_newer_row_is_forecast_anew(root: Path) -> None:
    issue(root, "red-a")

    async def work(plane: DataPlane) -> None:
        path = Project.at(root).features(BRANCH) / "red-a.parquet"
        rows = pd.read_parquet(path)
        newer = rows.tail(1).set_axis(DAYS[5:]).assign(target_session=DAYS[5] + pd.Timedelta(days=1))
        pd.concat([rows, newer]).rename_axis("session").to_parquet(path)
        shown = (await latest(plane))["red-a"]
        assert (shown.source, shown.session) == ("computed", DAYS[5].date())

    run(root, work)


def test_a_retrained_model_keeps_what_it_issued(root: Path) -> None:
    issue(root, "red-a")
    before = answering_version(Project.at(root).model_root, BRANCH, "red-a").version
    install_model(root, "red-a", 99)

    async def work(plane: DataPlane) -> None:
        shown = (await latest(plane))["red-a"]
        assert (shown.version, shown.superseded) == (before, "retrained")
        computed = (await plane.latest(["red-a"], computed=True))[0][0]
        assert computed.version != before
        assert computed.predicted_close != shown.predicted_close

    run(root, work)


def test_restated_rows(root: Path) -> None:
    issue(root, *NAMES)
    table(root, "red-a", shift=0.001)
    table(root, "red-b", last_close=3.5)

    async def work(plane: DataPlane) -> None:
        shown = await latest(plane)
        assert [shown[name].superseded for name in NAMES] == ["restated", None, "restated"]
        assert shown["red-b"].last_close == 14.0

    run(root, work)


def test_models_that_do_not_answer_stay_silent(root: Path) -> None:
    issue(root, *NAMES)
    (Project.at(root).models(BRANCH) / "red-b" / MANIFEST).write_text("{")

    async def work(plane: DataPlane) -> None:
        await plane.unload("red-a")
        forecasts, missing = await plane.latest()
        assert [forecast.model for forecast in forecasts] == ["blue-a"]
        assert missing["red-a"] == "it is unloaded"
        assert "manifest.json" in missing["red-b"]

    run(root, work)


@pytest.mark.parametrize("issued", [("red-a", "blue-a"), ("red-a",), ()], ids=["both", "one", "none"])
def test_an_ensemble_is_the_average_of_what_is_shown(root: Path, issued: tuple[str, ...]) -> None:
    if issued:
        issue(root, *issued)

    async def work(plane: DataPlane) -> None:
        shown = await latest(plane)
        both = shown["a-both"]
        expected = 0.75 * shown["red-a"].log_return + 0.25 * shown["blue-a"].log_return
        assert both.log_return == pytest.approx(expected, abs=1e-7)
        assert (both.source, both.stale, both.superseded) == ("computed", False, None)
        alone = (await latest(plane, ["a-both"]))["a-both"]
        assert alone.log_return == both.log_return

    run(root, work, ensembles=BOTH)


def test_an_ensemble_of_a_superseded_forecast_says_so(root: Path) -> None:
    issue(root, "red-a", "blue-a")
    table(root, "blue-a", shift=0.001)

    async def work(plane: DataPlane) -> None:
        assert (await latest(plane))["a-both"].superseded == "restated"

    run(root, work, ensembles=BOTH)


def test_stale_once_the_target_has_closed(root: Path) -> None:
    issue(root, "red-a")

    async def work(plane: DataPlane) -> tuple[set, float]:
        assert "stale_forecasts" not in plane.measures(), "no calendar is loaded yet"
        shown = await latest(plane)
        return {(each.stale, each.data_age_sessions) for each in shown.values()}, plane.measures()["stale_forecasts"]

    just_before, at_close = datetime(2024, 1, 8, 20, 59, tzinfo=UTC), datetime(2024, 1, 8, 21, tzinfo=UTC)
    assert run(root, work, just_before) == ({(False, 0)}, 0)
    assert run(root, work, at_close) == ({(True, 1)}, 3)


def test_a_model_of_another_branch_of_the_same_name(root: Path) -> None:
    """The journal knows forecasts by branch and name."""
    issue(root, "red-a")
    other = root / "models" / "other" / "red-a"
    other.parent.mkdir()
    install_model(root, "red-c", 5)
    (root / "models" / BRANCH / "red-c").rename(other)
    manifest = json.loads((other / MANIFEST).read_text())
    assert date.fromisoformat(manifest["trained_until"])
    (other / MANIFEST).write_text(json.dumps({**manifest, "name": "red-a", "ticker": "A"}))
    features = Project.at(root).features("other")
    features.mkdir(parents=True)
    rows = pd.read_parquet(Project.at(root).features(BRANCH) / "red-a.parquet")
    rows.to_parquet(features / "red-a.parquet")

    async def work(plane: DataPlane) -> None:
        shown = await latest(plane, [f"{BRANCH}/red-a", "other/red-a"])
        assert [shown[name].source for name in (f"{BRANCH}/red-a", "other/red-a")] == ["journal", "computed"]

    run(root, work)
