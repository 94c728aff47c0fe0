"""The gap between what was issued and what a replay gives today: every cause, and the difference."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_cli.features.build import build_features
from mlops_cli.live.journal.frames import frame_of
from mlops_cli.live.journal.gap import (
    CAUSES,
    NONE,
    NOT_ISSUED,
    NOT_REPLAYED,
    RESTATED,
    RESTATED_VERSION,
    UNEXPLAINED,
    UNITS,
    VERSION,
    gap,
    gap_figures,
)
from mlops_cli.live.journal.making import forecasts_of
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.live.journal.records import Forecast
from mlops_cli.live.journal.replaying import Replayer, replay_issued
from mlops_cli.models.predict import Model
from mlops_cli.system.sqlite_files import IN_MEMORY
from tests.fakes.journal_forecasts import EVENING, a_forecast, frame_in
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import FEATURES, model_folder
from tests.fakes.price_tables import random_prices, xnys_sessions

OTHER_ROW = {"row_hash": "b" * 64}
OTHER_VERSION = {"version": "ffffffffffff"}
OTHER_FORECAST = {"predicted_close": 101.1}


def compared(issued: list[Forecast], replayed: list[Forecast]) -> pd.DataFrame:
    with open_journal(IN_MEMORY) as journal:
        journal.issue(issued, EVENING)
        return gap(frame_in(journal), frame_of(replayed))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({}, NONE),
        (OTHER_ROW, RESTATED),
        (OTHER_ROW | OTHER_FORECAST, RESTATED),
        (OTHER_VERSION, VERSION),
        (OTHER_VERSION | OTHER_FORECAST, VERSION),
        (OTHER_ROW | OTHER_VERSION | OTHER_FORECAST, RESTATED_VERSION),
        (OTHER_FORECAST, UNEXPLAINED),
        ({"predicted_close": 101.0 * (1 + 1e-8)}, NONE),  # rounding of the graph
        ({"last_close": 25.0}, UNITS),
        ({"last_close": 25.0} | OTHER_ROW, RESTATED),
        ({"last_close": 25.0, "predicted_close": 26.0}, UNEXPLAINED),
        ({"shrinkage": 0.7, "drift_predicted_close": 99.0}, NONE),  # neither is a part of the forecast
    ],
)
def test_the_cause_of_a_difference(changes: dict[str, Any], cause: str) -> None:
    table = compared([a_forecast()], [a_forecast(**changes)])
    assert table["cause"].tolist() == [cause]
    (difference,) = table["difference"]
    assert difference == pytest.approx(a_forecast().log_return - a_forecast(**changes).log_return)


def test_forecasts_that_are_on_one_side_only() -> None:
    nights = [a_forecast(session=date(2024, 1, day), target_session=date(2024, 1, day + 1)) for day in (8, 9, 10)]
    table = compared(nights[:2], nights[1:])
    assert table["cause"].tolist() == [NOT_REPLAYED, NONE, NOT_ISSUED]
    assert table["session"].dt.day.tolist() == [8, 9, 10]
    assert table["ticker"].tolist() == ["AAPL"] * 3
    assert table["difference"].isna().tolist() == [True, False, True]
    assert table["predicted_close_now"].isna().tolist() == [True, False, False]
    assert gap_figures(table)["causes"] == {NONE: 1, NOT_ISSUED: 1, NOT_REPLAYED: 1}


def test_models_of_one_name_in_two_branches_are_not_mixed_up() -> None:
    issued = [a_forecast(), a_forecast(branch="other", last_close=50.0)]
    assert compared(issued, issued)["cause"].tolist() == [NONE, NONE]
    assert compared(issued, issued[1:])["cause"].tolist() == [NOT_REPLAYED, NONE]


def test_the_figures() -> None:
    issued = [a_forecast(model=f"m{number}") for number in range(4)]
    replayed = [a_forecast(model="m0"), a_forecast(model="m1", **OTHER_ROW, predicted_close=102.0), *issued[2:3]]
    figures = gap_figures(compared(issued, replayed))
    assert figures["n"] == 4
    assert list(figures["causes"].items()) == [(NONE, 2), (RESTATED, 1), (NOT_REPLAYED, 1)]
    assert figures["largest_difference"] == pytest.approx(np.log(1.02) - np.log(1.01))
    assert figures["mean_difference"] == pytest.approx((np.log(1.02) - np.log(1.01)) / 3)
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("replayed", [[], [a_forecast()]])
def test_an_empty_journal(replayed: list[Forecast]) -> None:
    figures = gap_figures(compared([], replayed))
    assert figures["causes"] == ({NOT_ISSUED: 1} if replayed else {})
    assert figures["mean_difference"] is figures["largest_difference"] is None


class TestRealModel:
    """Issued night by night from the prices of each night, and replayed from those of today."""

    NIGHTS = 12

    @pytest.fixture
    def model(self, tmp_path: Path) -> Model:
        return Model.open(model_folder(tmp_path))

    def table(self, bars: pd.DataFrame) -> pd.DataFrame:
        return build_features(bars, FEATURES, "log_return", xnys_sessions(), "ACME")

    def made(self, model: Model, bars: pd.DataFrame, sessions: pd.DatetimeIndex) -> list[Forecast]:
        return forecasts_of(model.manifest, "main", self.table(bars), sessions, model.forecasts)

    def gap(self, model: Model, bars: pd.DataFrame, today: pd.DataFrame) -> pd.DataFrame:
        nights = bars.index[-self.NIGHTS :]
        issued = [
            forecast for night in nights for forecast in self.made(model, bars.loc[:night], nights[nights == night])
        ]
        return compared(issued, self.made(model, today, nights))

    def test_the_same_prices_give_the_same_forecasts(self, model: Model) -> None:
        bars = random_prices(80, 4)
        table = self.gap(model, bars, bars)
        assert set(table["cause"]) == {NONE}
        assert len(table) == self.NIGHTS

    def test_a_restated_day_shows_in_the_rows_that_contain_it(self, model: Model) -> None:
        bars = random_prices(80, 4)
        today = bars.copy()
        today.iloc[-9, :5] *= 1.003  # its own return, the next one, and those over five sessions
        table = self.gap(model, bars, today)
        restated = (table["cause"] == RESTATED).tolist()
        assert restated == [False] * 3 + [True] * 6 + [False] * 3
        assert table["difference"].abs().gt(1e-5).tolist() == restated

    def test_a_split_changes_the_units_only(self, model: Model) -> None:
        bars = random_prices(80, 4)
        today = bars.copy()
        today.iloc[:, :5] /= 4  # exact in binary
        table = self.gap(model, bars, today)
        assert set(table["cause"]) == {UNITS}
        assert table["difference"].abs().max() < 1e-6

    def test_a_session_that_vanished(self, model: Model) -> None:
        bars = random_prices(80, 4)
        causes = self.gap(model, bars, bars.drop(index=bars.index[-2]))["cause"].tolist()
        assert causes[-2] == NOT_REPLAYED
        assert causes[:-3] == [NONE] * (self.NIGHTS - 3)
        assert {causes[-3], causes[-1]} <= {NONE, RESTATED}
        assert set(causes) <= set(CAUSES)


class TestReplayIssued:
    """The journal of some nights with two versions, replayed by version."""

    @pytest.fixture
    def models(self, tmp_path: Path) -> dict[str, Model]:
        """Two versions with other weights, by version."""
        made = [
            Model.open(model_folder(tmp_path / name, graph=linear_graph(np.array([0.5, -0.25, weight]), 0.001)))
            for name, weight in (("a", 0.1), ("b", 0.2))
        ]
        return {model.manifest.version: model for model in made}

    @pytest.fixture
    def table(self) -> pd.DataFrame:
        return build_features(random_prices(80, 4), FEATURES, "log_return", xnys_sessions(), "ACME")

    def issued(self, models: dict[str, Model], table: pd.DataFrame, nights: list[int]) -> pd.DataFrame:
        """The first version issued until night -5, the second from then on."""
        first, second = models.values()
        with open_journal(IN_MEMORY) as journal:
            for night in nights:
                model = first if night < -5 else second
                made = forecasts_of(model.manifest, "main", table, table.index[[night]], model.forecasts)
                journal.issue(made, EVENING)
            return frame_in(journal)

    def compared(self, frame: pd.DataFrame, models: dict[str, Model], table: pd.DataFrame | None) -> pd.DataFrame:
        newest = list(models.values())[-1] if models else None

        def version(branch: str, model: str, name: str) -> Replayer | None:
            assert (branch, model) == ("main", "red-acme")
            opened = models.get(name, newest)
            return None if opened is None else Replayer(opened.manifest, opened.forecasts)

        return gap(frame, replay_issued(frame, version, lambda *_: table))

    def test_each_session_with_the_version_that_issued_it(self, models: dict, table: pd.DataFrame) -> None:
        causes = self.compared(self.issued(models, table, list(range(-10, 0))), models, table)["cause"]
        assert causes.tolist() == [NONE] * 10

    def test_nights_without_a_forecast(self, models: dict, table: pd.DataFrame) -> None:
        frame = self.issued(models, table, [-10, -8, -7, -4])
        other = frame.iloc[[-1]].assign(model="blue-acme", session=table.index[-2])
        rows = self.compared_with_another(pd.concat([frame, other]), models, table)
        assert rows["cause"].tolist() == [NONE, NOT_ISSUED, NONE, NONE, NOT_ISSUED, NOT_ISSUED, NONE, *[NOT_ISSUED] * 2]
        first, second = models
        assert rows["version_now"].tolist() == [first] * 6 + [second] * 3

    def compared_with_another(self, frame: pd.DataFrame, models: dict, table: pd.DataFrame) -> pd.DataFrame:
        """Another model has issued later than the one that is looked at; its own table is gone."""

        def version(_: str, __: str, name: str) -> Replayer:
            return Replayer(models[name].manifest, models[name].forecasts)

        def tables(_: str, model: str) -> pd.DataFrame | None:
            return table if model == "red-acme" else None

        rows = gap(frame, replay_issued(frame, version, tables))
        assert rows.loc[rows["model"] == "blue-acme", "cause"].tolist() == [NOT_REPLAYED]
        return rows[rows["model"] == "red-acme"]

    def test_a_version_that_is_gone_is_replaced_by_another(self, models: dict, table: pd.DataFrame) -> None:
        frame = self.issued(models, table, list(range(-10, 0)))
        left = dict(list(models.items())[1:])
        rows = self.compared(frame, left, table)
        assert rows["cause"].tolist() == [VERSION] * 5 + [NONE] * 5
        assert rows["difference"].abs().gt(1e-7).tolist() == [True] * 5 + [False] * 5

    @pytest.mark.parametrize("gone", ["models", "table"])
    def test_a_model_or_table_that_is_gone(self, models: dict, table: pd.DataFrame, gone: str) -> None:
        frame = self.issued(models, table, [-2, -1])
        rows = self.compared(frame, {} if gone == "models" else models, None if gone == "table" else table)
        assert rows["cause"].tolist() == [NOT_REPLAYED] * 2

    def test_an_empty_journal(self, models: dict, table: pd.DataFrame) -> None:
        assert self.compared(self.issued(models, table, []), models, table).empty
