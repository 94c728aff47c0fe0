"""Making forecasts for the journal: as a replay does, on the evening and afterwards, and the hash of what was seen."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import DataError, ModelError
from mlops_cli.features.build import build_features
from mlops_cli.features.column_names import ANNOUNCED, WIDEST, width_columns
from mlops_cli.live.journal.journal import Journal
from mlops_cli.live.journal.making import forecasts_of, newest_forecast, row_hashes
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.live.journal.records import Forecast
from mlops_cli.models.base import forecast_constants, wrap_graph
from mlops_cli.models.graph import set_constants
from mlops_cli.models.predict import Model
from mlops_cli.simulation.replay import replay
from mlops_cli.system.sqlite_files import IN_MEMORY
from tests.fakes.journal_forecasts import EVENING, closes_of, frame_in
from tests.fakes.model_folders import FEATURES, INPUTS, model_folder
from tests.fakes.price_tables import random_prices, xnys_sessions

START = date(2016, 1, 5)
LEVELS = (80.0, 95.0)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """With a base of drift and dividend, and intervals of two levels."""
    inputs = (*INPUTS, ANNOUNCED, *width_columns(LEVELS))
    folder = model_folder(
        tmp_path, inputs=inputs, levels=LEVELS, base="drift_dividend", base_drift=0.001, shrinkage=0.5
    )
    graph = folder / "model.onnx"
    wrap_graph(graph, 3, 2, dividend=True)
    set_constants(graph, graph, forecast_constants(0.5, 0.001, 2))
    return Model.open(folder)


def prices() -> pd.DataFrame:
    return random_prices(420, 1, start="2014-06-02", halts=3)


def features_of(bars: pd.DataFrame) -> pd.DataFrame:
    table = build_features(bars, FEATURES, "log_return", xnys_sessions(), "ACME")
    place = np.arange(len(table))
    extras = {ANNOUNCED: np.where(place % 60 == 5, 0.01, 0.0), "width_80": 0.02, "width_95": 0.04}
    table = table.assign(**extras)
    table.iloc[:3, table.columns.get_loc("width_95")] = WIDEST
    return table


def made(model: Model, table: pd.DataFrame, sessions: pd.DatetimeIndex) -> list[Forecast]:
    return forecasts_of(model.manifest, "main", table, sessions, model.forecasts)


class TestForecasts:
    def test_the_newest_is_of_the_last_row_whose_close_is_not_followed_yet(self, model: Model) -> None:
        table = features_of(prices())
        forecast = newest_forecast(model.manifest, "main", table, model.forecasts)
        row = table.iloc[-1]
        assert math.isnan(row["next_close"])
        assert forecast.faults == []
        assert (forecast.session, forecast.target_session) == (table.index[-1].date(), row["target_session"].date())
        assert (forecast.model, forecast.team, forecast.ticker, forecast.exchange) == (
            "red-acme",
            "red",
            "ACME",
            "XNYS",
        )
        assert (forecast.version, forecast.shrinkage) == (model.manifest.version, 0.5)
        assert forecast.exchange == "XNYS"
        assert forecast.target_closes_at.date() == forecast.target_session
        assert (forecast.last_close, forecast.previous_close) == (row["last_close"], table["last_close"].iloc[-2])
        assert forecast.previous_session == table.index[-2].date()
        shrunk, raw = (values[0] for values in model.log_returns(table.iloc[[-1]]))
        assert forecast.log_return == pytest.approx(shrunk, abs=1e-12)
        assert forecast.raw_predicted_close == pytest.approx(row["last_close"] * math.exp(raw), rel=1e-12)
        assert [interval.level for interval in forecast.intervals] == [80.0, 95.0]
        assert all(interval.constant is not None for interval in forecast.intervals)

    def test_they_are_those_of_a_replay(self, model: Model) -> None:
        table = features_of(prices())
        frame = replay(model, table, START, None)
        forecasts = made(model, table, pd.DatetimeIndex(frame["session"]))
        names = ["last_close", "predicted_close", "raw_predicted_close", "drift_predicted_close", "announced_dividend"]
        for name in (*names, "base_predicted_close"):
            assert [getattr(forecast, name) for forecast in forecasts] == frame[name].tolist(), name
        bounds = [[bound for interval in forecast.intervals for bound in interval[1:3]] for forecast in forecasts]
        np.testing.assert_array_equal(bounds, frame[["lower_80", "upper_80", "lower_95", "upper_95"]])
        constants = {interval.constant for forecast in forecasts for interval in forecast.intervals}
        assert constants == {*frame["constant_80"], *frame["constant_95"]}

    def test_a_replay_of_the_evening_gives_what_was_issued(self, model: Model) -> None:
        """As it is used live: the prices end with the session on which the forecast is made."""
        bars = prices()
        whole = features_of(bars)
        for place in range(250, len(whole), 20):
            tonight = features_of(bars.loc[: whole.index[place]])
            issued = newest_forecast(model.manifest, "main", tonight, model.forecasts)
            (replayed,) = made(model, whole, whole.index[[place]])
            assert issued.row_hash == replayed.row_hash
            assert issued == replayed

    def test_a_level_without_enough_sessions_has_no_interval(self, model: Model) -> None:
        table = features_of(prices())
        first = made(model, table, table.index[:4])
        assert [len(forecast.intervals) for forecast in first] == [1, 1, 1, 2]
        assert first[0].intervals[0].constant is None  # no year before it
        assert (first[0].previous_session, first[0].previous_close) == (None, None)
        assert first[0].faults == []

    def test_a_table_of_other_levels_gives_the_same_forecast_without_intervals(self, model: Model) -> None:
        """After a change of `intervals.levels`: an earlier version still forecasts."""
        table = features_of(prices())
        issued = newest_forecast(model.manifest, "main", table, model.forecasts)
        other = newest_forecast(model.manifest, "main", table.drop(columns="width_95"), model.forecasts)
        assert (other.intervals, other.predicted_close) == ((), issued.predicted_close)
        assert other.row_hash != issued.row_hash

    def test_sessions_without_a_row_are_left_out(self, model: Model) -> None:
        table = features_of(prices())
        assert made(model, table, pd.DatetimeIndex(["1999-01-04"])) == []
        halted = table.drop(index=table.index[-5])
        assert len(made(model, halted, table.index[-10:])) == 9

    def test_an_empty_table(self, model: Model) -> None:
        with pytest.raises(DataError, match="red-acme: its feature table is empty"):
            newest_forecast(model.manifest, "main", features_of(prices()).iloc[:0], model.forecasts)

    def test_a_row_that_the_model_cannot_forecast(self, model: Model) -> None:
        table = features_of(prices())
        table.iloc[-1, table.columns.get_loc("return_5")] = np.nan
        with pytest.raises(ModelError, match="return_5: not a number"):
            newest_forecast(model.manifest, "main", table, model.forecasts)

    def test_an_old_model_without_base_and_intervals(self, tmp_path: Path) -> None:
        old = Model.open(model_folder(tmp_path / "old"))
        forecast = newest_forecast(old.manifest, "main", features_of(prices()), old.forecasts)
        assert (forecast.intervals, forecast.announced_dividend) == ((), 0.0)
        assert forecast.base_predicted_close == forecast.last_close
        assert forecast.faults == []

    def test_they_can_be_journaled_and_settled(self, model: Model) -> None:
        table = features_of(prices())
        forecasts = made(model, table, table.index[-20:])
        closes = {f"{day:%F}": close for day, close in table["last_close"].items()}
        with open_journal(IN_MEMORY) as journal:
            assert journal.issue(forecasts, EVENING).issued == 20
            assert [issued.forecast for issued in journal.forecasts()] == forecasts
            assert self._settled(journal, closes) == 19
            frame = frame_in(journal)
        known = frame["actual_close"].notna()
        assert frame.loc[known, "actual_close"].tolist() == table["next_close"].iloc[-20:-1].tolist()

    def _settled(self, journal: Journal, closes: dict[str, float]) -> int:
        from mlops_cli.live.journal.settle import settle

        return journal.add_actuals(settle(frame_in(journal), closes_of({"ACME": closes})).actuals, EVENING)


class TestRowHash:
    def rows(self, **changes: object) -> pd.DataFrame:
        values = {"return_1": 0.01, "return_5": -0.0, "last_close": 100.0, "next_close": 101.0, **changes}
        target = values.pop("target_session", pd.Timestamp("2024-01-05"))
        index = pd.DatetimeIndex([values.pop("session", "2024-01-04")], name="session")
        return pd.DataFrame({name: [value] for name, value in values.items()}, index=index).assign(
            target_session=target
        )

    def hash(self, *inputs: str, **changes: object) -> str:
        (digest,) = row_hashes(self.rows(**changes), inputs or ("return_1", "return_5"))
        return digest

    def test_it_is_the_same_for_what_a_model_sees_the_same(self) -> None:
        before = self.hash()
        assert len(before) == 64
        assert self.hash(last_close=25.0, next_close=np.nan) == before  # a split; a close that is not known yet
        assert self.hash(return_5=0.0) == before
        assert self.hash(return_1=0.01 + 1e-12) == before  # float32

    @pytest.mark.parametrize(
        "changes",
        [
            {"return_1": 0.0100001},
            {"return_5": 1e-30},
            {"session": "2024-01-03"},
            {"target_session": pd.Timestamp("2024-01-08")},
        ],
    )
    def test_any_other_row_has_another(self, changes: dict) -> None:
        assert self.hash(**changes) != self.hash()

    def test_names_and_order_of_the_inputs_count(self) -> None:
        swapped = self.hash("return_5", "return_1")
        renamed = self.rows().rename(columns={"return_1": "return_2"})
        assert len({self.hash(), swapped, self.hash("return_1"), row_hashes(renamed, ("return_2", "return_5"))[0]}) == 4

    def test_the_unit_of_the_index_makes_no_difference(self) -> None:
        rows = self.rows()
        nano = rows.set_axis(pd.DatetimeIndex(rows.index).as_unit("ns"))
        assert row_hashes(nano, ("return_1",)) == row_hashes(rows, ("return_1",))

    @given(values=st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=8), place=st.integers(0, 7))
    def test_many_rows_have_the_hashes_of_each(self, values: list[float], place: int) -> None:
        days = pd.bdate_range("2024-01-02", periods=len(values) + 1, name="session")
        rows = pd.DataFrame({"x": values, "target_session": days[1:]}, index=days[:-1])
        place %= len(values)
        assert row_hashes(rows, ("x",))[place] == row_hashes(rows.iloc[[place]], ("x",))[0]
