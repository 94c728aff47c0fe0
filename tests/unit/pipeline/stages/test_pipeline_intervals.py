"""Intervals in stage `featurize`: their columns and notes, and when those of a fleet are computed again."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.intervals import Intervals
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.features.build import interval_errors
from mlops_cli.features.column_names import ANNOUNCED, WIDEST, width_columns
from mlops_cli.features.intervals import fleet_quantiles
from mlops_cli.pipeline.stages.featurize import build_table, featurize
from mlops_cli.pipeline.stages.interval_pools import IntervalPools, Pool
from mlops_cli.pipeline.stages.stage import StageReport
from mlops_cli.pipeline.stages.tables import read_table, write_table
from mlops_cli.prices.actions.dividends import Sighting
from mlops_cli.prices.actions.sightings_file import dividends_file, write_sightings
from tests.fakes.branches import Progress, branch_of
from tests.fakes.price_tables import random_prices, xnys_sessions
from tests.fakes.train_jobs import model_spec

A, B = model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")
LEVELS = (80.0, 95.0)
STOCK, FLEET = Intervals(levels=LEVELS), Intervals(levels=LEVELS, method="fleet")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    for seed, ticker in enumerate("AB"):
        prices(made, ticker, seed)
    return made


def prices(project: Project, ticker: str, seed: int) -> None:
    folder = project.prices("main")
    write_table(folder, ticker, random_prices(160, seed))
    (folder / f"{ticker}.json").write_text(json.dumps({"sha256": f"{ticker} {seed}"}))


def dividends(project: Project, ticker: str, *amounts: float) -> None:
    day = date(2015, 6, 2)
    write_sightings(
        dividends_file(project.prices("main"), ticker),
        [Sighting(day, amount, day, 100.0, "csv", date(2030, 1, 1)) for amount in amounts],
    )


def run(project: Project, *models: ModelSpec, intervals: Intervals = STOCK, only: str | None = None) -> StageReport:
    return featurize(project, branch_of(*models, intervals=intervals), Progress(), only)


def note(project: Project, model: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((project.features("main") / f"{model}.json").read_text())
    return values


def table(project: Project, model: str) -> pd.DataFrame:
    found = read_table(project.features("main"), model)
    assert found is not None
    return found


def test_every_model_gets_widths_whatever_its_trainer_and_base(project: Project) -> None:
    dividends(project, "A", 1.0)
    specs = [
        A,
        B,
        model_spec("base-a", ticker="A", trainer="naive"),
        model_spec("green-a", ticker="A", base="drift"),
        model_spec("blue-a", ticker="A", target="close"),
    ]
    run(project, *specs)
    for spec, base in zip(specs, ["drift_dividend", "none", "none", "drift", "drift_dividend"], strict=True):
        facts = note(project, spec.name)
        more = ["width_80", "width_95"]
        if base == "drift_dividend":
            more.insert(0, ANNOUNCED)
        assert (facts["base"], facts["levels"]) == (base, list(LEVELS)), spec.name
        assert facts["inputs"][-len(more) :] == more
        widths = table(project, spec.name)[["width_80", "width_95"]]
        assert ((widths > 0) & (widths <= WIDEST)).all().all()
        assert (widths["width_80"] <= widths["width_95"]).all()


def test_the_widths_of_a_stock_do_not_depend_on_other_stocks(project: Project) -> None:
    run(project, A, B)
    alone = table(project, "red-a")
    prices(project, "B", 7)
    assert run(project, A, B).unchanged == ["red-a"]
    pd.testing.assert_frame_equal(table(project, "red-a"), alone)
    assert "quantiles" not in note(project, "red-a")


@pytest.mark.parametrize(
    "other", [Intervals(levels=(80,)), FLEET, Intervals(levels=(80, 90))], ids=["fewer", "fleet", "levels"]
)
def test_other_settings_compute_the_tables_again(project: Project, other: Intervals) -> None:
    run(project, A, B)
    assert run(project, A, B, intervals=other).done == ["red-a", "red-b"]
    assert run(project, A, B, intervals=other).unchanged == ["red-a", "red-b"]
    assert note(project, "red-a")["inputs"][-len(other.levels) :] == list(width_columns(other.levels))


class TestFleet:
    def quantiles(self, *seeds: int) -> pd.DataFrame:
        errors = {str(seed): interval_errors(random_prices(160, seed), xnys_sessions(), "T") for seed in seeds}
        return fleet_quantiles(errors, LEVELS)

    def test_the_widths_are_made_of_the_errors_of_all_stocks(self, project: Project) -> None:
        run(project, A, B, intervals=FLEET)
        expected = build_table(project.prices("main"), A, "none", LEVELS, self.quantiles(0, 1))
        pd.testing.assert_frame_equal(table(project, "red-a"), expected)
        run(project, A, B)
        assert not table(project, "red-a")["width_80"].equals(expected["width_80"])

    def test_the_note_has_the_quantiles_of_the_last_session(self, project: Project) -> None:
        run(project, A, B, intervals=FLEET)
        last = self.quantiles(0, 1)
        assert note(project, "red-b")["quantiles"] == {
            "session": f"{last.index[-1]:%F}",
            **{name: pytest.approx(last[name].iloc[-1]) for name in width_columns(LEVELS)},
        }

    def test_a_level_with_too_few_errors_is_none_in_the_note_and_widest_in_the_table(self, project: Project) -> None:
        for ticker in "AB":
            write_table(project.prices("main"), ticker, random_prices(26, 0))
        run(project, A, intervals=FLEET)
        assert note(project, "red-a")["quantiles"]["width_95"] is None
        assert set(table(project, "red-a")["width_95"]) == {WIDEST}

    def test_other_prices_of_one_stock_compute_all_tables_again(self, project: Project) -> None:
        run(project, A, B, intervals=FLEET)
        prices(project, "B", 7)
        assert run(project, A, B, intervals=FLEET).done == ["red-a", "red-b"]

    def test_a_part_of_the_branch_has_the_fleet_of_the_whole_branch(self, project: Project) -> None:
        run(project, A, B, intervals=FLEET)
        whole = table(project, "red-a")
        assert run(project, A, B, intervals=FLEET, only="red-a").unchanged == ["red-a"]
        (project.features("main") / "red-a.json").unlink()
        assert run(project, A, B, intervals=FLEET, only="red-a").done == ["red-a"]
        pd.testing.assert_frame_equal(table(project, "red-a"), whole)

    def test_a_stock_without_prices_fails_alone(self, project: Project) -> None:
        report = run(project, A, B, model_spec("red-x", ticker="X"), intervals=FLEET)
        assert report.done == ["red-a", "red-b"]
        assert [failure.model for failure in report.failures] == ["red-x"]
        expected = build_table(project.prices("main"), A, "none", LEVELS, self.quantiles(0, 1))
        pd.testing.assert_frame_equal(table(project, "red-a"), expected)

    def test_exchanges_and_kinds_of_returns_are_pools_of_their_own(self, project: Project) -> None:
        pools = IntervalPools(project.prices("main"), FLEET)
        pools.add("A", "XNYS", dividends=True)
        pools.add("B", "XNYS", dividends=False)
        both = IntervalPools(project.prices("main"), FLEET)
        for ticker in "AB":
            both.add(ticker, "XNYS", dividends=True)
        own, shared = pools.of("XNYS", dividends=True), both.of("XNYS", dividends=True)
        assert own == shared == Pool("XNYS", dividends=True)
        assert own != pools.of("XNYS", dividends=False) != pools.of("XETR", dividends=False)
        assert pools.mark(own) != both.mark(shared)

    def test_a_dividend_that_was_seen_later_changes_the_mark(self, project: Project) -> None:
        pool = Pool("XNYS", dividends=True)
        marks = set()
        for amounts in ((1.0,), (1.0, 1.5)):
            dividends(project, "A", *amounts)
            pools = IntervalPools(project.prices("main"), FLEET)
            pools.add("A", "XNYS", dividends=True)
            marks.add(pools.mark(pool))
        assert len(marks) == 2

    def test_with_stocks_on_their_own_there_are_no_pools(self, project: Project) -> None:
        pools = IntervalPools(project.prices("main"), STOCK)
        pools.add("A", "XNYS", dividends=True)
        assert pools.of("XNYS", dividends=True) is None
        assert pools.mark(None) == ""
        assert pools.quantiles([None, None]) == {}
