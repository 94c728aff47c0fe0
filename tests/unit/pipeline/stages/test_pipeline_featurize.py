"""Stage `featurize` on tables of prices: what is computed again, and what is reported."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import FeatureSpec, ModelSpec
from mlops_cli.errors import DataError
from mlops_cli.pipeline.stages.featurize import build_table, featurize
from mlops_cli.pipeline.stages.stage import ItemFailure, StageReport, write_failures
from mlops_cli.pipeline.stages.tables import read_table, write_table
from tests.fakes.branches import Progress, branch_of
from tests.fakes.price_tables import random_prices
from tests.fakes.train_jobs import model_spec

A, B = model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    for seed, ticker in enumerate("AB"):
        prices(made, ticker, random_prices(120, seed), f"hash of {ticker}")
    return made


def prices(project: Project, ticker: str, table: pd.DataFrame, sha256: str) -> None:
    write_table(project.prices("main"), ticker, table)
    (project.prices("main") / f"{ticker}.json").write_text(json.dumps({"sha256": sha256}))


def run(project: Project, *models: ModelSpec, only: str | None = None) -> StageReport:
    return featurize(project, branch_of(*models), Progress(), only)


def files(project: Project) -> list[str]:
    return sorted(path.name for path in project.features("main").iterdir())


def test_every_model_gets_a_table_and_a_note(project: Project) -> None:
    report = run(project, A, B)
    assert (report.done, report.unchanged, report.failures) == (["red-a", "red-b"], [], [])
    assert files(project) == ["red-a.json", "red-a.parquet", "red-b.json", "red-b.parquet"]
    note = json.loads((project.features("main") / "red-a.json").read_text())
    table = read_table(project.features("main"), "red-a")
    assert note["rows"] == len(table)
    assert set(note["inputs"]) <= set(table.columns)
    assert len(note["fingerprint"]) == 64


def test_models_of_a_ticker_with_the_same_features_share_the_work_but_not_the_files(project: Project) -> None:
    twin = model_spec("blue-a", ticker="A")
    other = model_spec("wide-a", ticker="A").model_copy(update={"features": FeatureSpec(returns=(1, 3))})
    report = run(project, A, other, twin, B)
    assert sorted(report.done) == ["blue-a", "red-a", "red-b", "wide-a"]
    contents = {path.name: path.read_bytes() for path in project.features("main").iterdir()}
    assert contents["blue-a.parquet"] == contents["red-a.parquet"]
    assert contents["blue-a.json"] == contents["red-a.json"]
    assert contents["wide-a.parquet"] != contents["red-a.parquet"] != contents["red-b.parquet"]
    alone = Project(project.root.parent / "alone")
    prices(alone, "A", random_prices(120, 0), "hash of A")
    run(alone, twin)
    assert (alone.features("main") / "blue-a.parquet").read_bytes() == contents["blue-a.parquet"]
    (project.features("main") / "blue-a.parquet").write_bytes(b"")  # no link to the other's file
    assert read_table(project.features("main"), "red-a") is not None


def test_a_ticker_with_too_few_prices_fails_for_each_of_its_models(project: Project) -> None:
    prices(project, "A", random_prices(5, 0), "short")
    report = run(project, A, model_spec("blue-a", ticker="A"), B)
    assert report.done == ["red-b"]
    assert {failure.model for failure in report.failures} == {"red-a", "blue-a"}
    assert files(project) == ["failures.json", "red-b.json", "red-b.parquet"]


def test_a_second_time_nothing_is_computed(project: Project) -> None:
    run(project, A, B)
    before = {path: path.stat().st_mtime_ns for path in project.features("main").iterdir()}
    report = run(project, A, B)
    assert report.unchanged == ["red-a", "red-b"]
    assert {path: path.stat().st_mtime_ns for path in project.features("main").iterdir()} == before


@pytest.mark.parametrize(
    "changed",
    [
        A.model_copy(update={"features": FeatureSpec(returns=(1, 3))}),
        A.model_copy(update={"target": "close"}),
        A.model_copy(update={"exchange": "XNAS"}),
    ],
    ids=["features", "target", "exchange"],
)
def test_other_settings_compute_that_table_again(project: Project, changed: ModelSpec) -> None:
    run(project, A, B)
    report = run(project, changed, B)
    assert (report.done, report.unchanged) == (["red-a"], ["red-b"])


def test_settings_of_the_training_compute_nothing_again(project: Project) -> None:
    run(project, A)
    assert run(project, A.model_copy(update={"ludwig": {"trainer": {"epochs": 1}}, "trainer": "naive"})).done == []


def test_other_prices_compute_the_tables_of_that_ticker_again(project: Project) -> None:
    twin = A.model_copy(update={"name": "blue-a", "team": "blue"})
    run(project, A, B, twin)
    prices(project, "A", random_prices(120, 9), "another hash")
    report = run(project, A, B, twin)
    assert (report.done, report.unchanged) == (["red-a", "blue-a"], ["red-b"])


@pytest.mark.parametrize("damage", ["table", "note", "half a note"])
def test_a_lost_or_damaged_file_is_computed_again(project: Project, damage: str) -> None:
    run(project, A)
    folder = project.features("main")
    match damage:
        case "table":
            (folder / "red-a.parquet").unlink()
        case "note":
            (folder / "red-a.json").unlink()
        case _:
            (folder / "red-a.json").write_text('{"fingerpr')
    assert run(project, A).done == ["red-a"]


def test_a_model_without_prices_fails_with_the_first_cause(project: Project) -> None:
    lost, unknown = model_spec("red-x", ticker="X"), model_spec("red-y", ticker="Y")
    first = ItemFailure("red-x", "ingest", "X: the service knows no such ticker", 4)
    write_failures(project.prices("main"), [first])
    report = run(project, A, lost, unknown)
    assert report.done == ["red-a"]
    assert {failure.model: failure.stage for failure in report.failures} == {"red-x": "ingest", "red-y": "featurize"}
    assert first in report.failures
    assert any("Y: no prices in" in failure.reason for failure in report.failures)


def test_too_few_prices_fail_that_model_alone_and_leave_no_note(project: Project) -> None:
    prices(project, "B", random_prices(3), "short")
    report = run(project, A, B)
    assert report.done == ["red-a"]
    assert [failure.model for failure in report.failures] == ["red-b"]
    assert "red-b.json" not in files(project), "else it would count as computed"


def test_tables_of_models_that_left_the_branch_are_removed_but_not_by_a_part(project: Project) -> None:
    run(project, A, B)
    run(project, A, only="red-a")
    assert "red-b.parquet" in files(project)
    run(project, A)
    assert files(project) == ["red-a.json", "red-a.parquet"]


def test_the_table_reaches_past_the_last_price_to_the_next_session(project: Project) -> None:
    table = build_table(project.prices("main"), A)
    bars = read_table(project.prices("main"), "A")
    assert table.index[-1] == bars.index[-1]
    assert table["target_session"].iloc[-1] > bars.index[-1]
    assert table["next_close"].isna().sum() == 1


def test_without_prices_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="A: no prices in"):
        build_table(tmp_path, A)


def test_sessions_are_those_of_the_models_exchange(project: Project) -> None:
    table = build_table(project.prices("main"), A)
    assert date(2015, 7, 3) not in set(table["target_session"].dt.date), "New York was closed"
