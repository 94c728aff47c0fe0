"""Replay: a frame by hand, models that know too much, and that all rows at once are the same as day by day."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import DataError, ModelError
from mlops_cli.evaluation.frame import FORECAST_COLUMNS, check_forecasts
from mlops_cli.features.build import build_features, input_columns
from mlops_cli.features.column_names import ANNOUNCED, WIDEST, width_columns
from mlops_cli.models.base import forecast_constants, wrap_graph
from mlops_cli.models.graph import SHRINKAGE, constant_return_graph, set_constants
from mlops_cli.models.predict import Model
from mlops_cli.simulation.replay import replay
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import FEATURES, INPUTS, model_folder
from tests.fakes.price_tables import random_prices, xnys_sessions

SESSIONS = xnys_sessions()[xnys_sessions().searchsorted(pd.Timestamp("2016-01-04")) :]
START = date(2016, 1, 5)


def by_hand() -> pd.DataFrame:
    """Four rows of a feature table; the last one's next close is not known yet."""
    return pd.DataFrame(
        {
            "return_1": [0.01, -0.02, 0.03, 0.0],
            "return_5": [0.0, 0.04, 0.0, 0.0],
            "volatility_5": [0.0, 0.0, 0.08, 0.0],
            "last_close": [100.0, 102.0, 99.0, 101.0],
            "next_close": [102.0, 99.0, 101.0, np.nan],
            "target_session": SESSIONS[1:5],
        },
        index=pd.DatetimeIndex(SESSIONS[:4], name="session"),
    )


def open_model(root: Path, name: str = "red-acme", graph: onnx.ModelProto | None = None, **changes) -> Model:
    return Model.open(model_folder(root, name, graph, **changes))


def test_a_frame_by_hand(tmp_path: Path):
    model = open_model(tmp_path, graph=linear_graph(np.array([0.5, -0.25, 0.125]), 0.001), drift=0.0004)
    graph = model.folder / "model.onnx"
    set_constants(graph, graph, {SHRINKAGE: 0.5})
    frame = replay(model, by_hand(), START, None)
    raw = np.array([0.5 * 0.01 + 0.001, 0.5 * -0.02 - 0.25 * 0.04 + 0.001, 0.5 * 0.03 + 0.125 * 0.08 + 0.001])
    last = np.array([100.0, 102.0, 99.0])
    expected = pd.DataFrame(
        {
            "model": "red-acme",
            "team": "red",
            "ticker": "ACME",
            "session": SESSIONS[:3],
            "target_session": SESSIONS[1:4],
            "last_close": last,
            "predicted_close": last * np.exp(0.5 * raw),
            "raw_predicted_close": last * np.exp(raw),
            "actual_close": [102.0, 99.0, 101.0],
            "drift_predicted_close": last * np.exp(0.0004),
            "base_predicted_close": last,
            "announced_dividend": 0.0,
        }
    )
    pd.testing.assert_frame_equal(frame, expected, rtol=1e-7)
    pd.testing.assert_frame_equal(check_forecasts(frame), frame)


class TestIntervals:
    """A model with a base of drift and dividend, and the levels 80 and 95."""

    LEVELS = (80.0, 95.0)

    def model(self, folder: Path) -> Model:
        inputs = (*INPUTS, ANNOUNCED, *width_columns(self.LEVELS))
        made = model_folder(folder, inputs=inputs, levels=self.LEVELS, base="drift_dividend", base_drift=0.001)
        graph = made / "model.onnx"
        wrap_graph(graph, 3, 2, dividend=True)
        set_constants(graph, graph, forecast_constants(0.5, 0.001, 2))
        return Model.open(made)

    def table(self) -> pd.DataFrame:
        extras = {ANNOUNCED: [0.0, 0.02, 0.0, 0.0], "width_80": [0.02, 0.02, WIDEST, 0.02], "width_95": 0.04}
        return by_hand().assign(**extras)

    def test_bounds_are_prices_less_the_dividend(self, tmp_path: Path) -> None:
        frame = replay(self.model(tmp_path), self.table(), START, None)
        last, dividend = frame["last_close"].to_numpy(), frame["announced_dividend"].to_numpy()
        assert dividend == pytest.approx([0.0, 2.04, 0.0])
        total = frame["predicted_close"].to_numpy() + dividend
        for name, side in (("lower_80", -0.02), ("upper_80", 0.02), ("lower_95", -0.04), ("upper_95", 0.04)):
            known = slice(0, 2) if name.endswith("80") else slice(None)
            expected = total * np.exp(side) - dividend
            np.testing.assert_allclose(frame[name][known], expected[known], rtol=2e-7)
        np.testing.assert_allclose(frame["base_predicted_close"], last * np.exp(0.001) - dividend, rtol=1e-12)

    def test_a_level_without_enough_sessions_has_no_bounds(self, tmp_path: Path) -> None:
        frame = replay(self.model(tmp_path), self.table(), START, None)
        assert frame["lower_80"].isna().tolist() == frame["upper_80"].isna().tolist() == [False, False, True]
        assert frame[["lower_95", "upper_95"]].notna().all().all()

    def test_the_constant_width_is_a_quantile_of_the_year_before_the_period(self, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        days = pd.bdate_range(end="2016-01-04", periods=300, unit="s")
        moves = 0.01 * random.standard_normal(300)
        early = pd.DataFrame(
            {"last_close": 100.0, "next_close": 100.0 * np.exp(moves), "target_session": days, ANNOUNCED: 0.0},
            index=days - pd.Timedelta(days=1),
        )
        early.loc[early.index[50], "next_close"] = np.nan  # a halt
        early.loc[early.index[100], ["next_close", ANNOUNCED]] = 97.0, 0.03  # an ex-day on which nothing else moved
        frame = replay(self.model(tmp_path), pd.concat([early, self.table()]), START, None)
        year = np.abs(np.delete(moves, 50)[-252:])
        year[252 - 200] = 0.0
        assert frame["constant_80"].unique() == pytest.approx([np.sort(year)[203 - 1]])  # 253 * 0.8 = 202.4
        assert frame["constant_95"].unique() == pytest.approx([np.sort(year)[241 - 1]])  # 253 * 0.95 = 240.35

    def test_too_few_sessions_before_the_period_give_no_constant_width(self, tmp_path: Path) -> None:
        frame = replay(self.model(tmp_path), self.table(), START, None)
        assert frame[["constant_80", "constant_95"]].isna().all().all()

    def test_a_table_of_other_levels_gives_the_same_forecasts_without_intervals(self, tmp_path: Path) -> None:
        model, table = self.model(tmp_path), self.table()
        frame = check_forecasts(replay(model, table.drop(columns="width_80"), START, None))
        expected = check_forecasts(replay(model, table, START, None))[list(FORECAST_COLUMNS)]
        pd.testing.assert_frame_equal(frame, expected)

    def test_an_old_model_has_no_such_columns(self, tmp_path: Path) -> None:
        frame = replay(open_model(tmp_path), self.table(), START, None)
        assert tuple(frame.columns) == FORECAST_COLUMNS


def test_the_period_is_of_target_sessions_its_end_not_included(tmp_path: Path):
    model = open_model(tmp_path)
    frame = replay(model, by_hand(), SESSIONS[2].date(), SESSIONS[3].date())
    assert frame["target_session"].tolist() == [SESSIONS[2]]
    assert frame["session"].tolist() == [SESSIONS[1]]


@pytest.mark.parametrize("known", [START, START + timedelta(days=1), date(2030, 1, 1)])
def test_a_model_that_knows_the_period_is_refused(tmp_path: Path, known: date):
    model = open_model(tmp_path, trained_until=known)
    with pytest.raises(ModelError) as refusal:
        replay(model, by_hand(), START, None)
    assert refusal.value.message == f"red-acme was trained on closes up to {known}, but the period starts on {START}"


def test_knowing_the_day_before_is_no_cheating(tmp_path: Path):
    # the forecast for the first day of the period is made on the day before, whose close the model may know
    model = open_model(tmp_path, trained_until=START - timedelta(days=1))
    assert replay(model, by_hand(), START, None)["session"].iloc[0] == SESSIONS[0]


@pytest.mark.parametrize(
    ("table", "start", "end", "words"),
    [
        (by_hand(), date(2020, 1, 2), None, "from 2020-01-02 to the end of the data (the data hold 2016-01-04 to "),
        (by_hand(), START, START, "from 2016-01-05 to 2016-01-05 (the data hold 2016-01-04 to 2016-01-07)"),
        (by_hand().iloc[-1:], START, None, "(the data hold 2016-01-07 to 2016-01-07)"),
        (by_hand().iloc[:0], START, date(2016, 6, 1), "from 2016-01-05 to 2016-06-01 (the data hold nothing)"),
    ],
)
def test_a_period_without_sessions_is_refused(
    tmp_path: Path, table: pd.DataFrame, start: date, end: date | None, words: str
):
    model = open_model(tmp_path)
    with pytest.raises(DataError) as refusal:
        replay(model, table, start, end)
    assert refusal.value.message.startswith("red-acme: no session with a known close ")
    assert words in refusal.value.message
    assert "mlops ingest" in refusal.value.hint


GRAPHS = {
    "naive": constant_return_graph(3, 0.0),
    "drift": constant_return_graph(3, 0.0004),
    "linear": linear_graph(np.array([0.5, -0.25, 0.125]), 0.001),
}


@pytest.fixture(params=sorted(GRAPHS))
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    return open_model(tmp_path, graph=GRAPHS[request.param])


def features_of(prices: pd.DataFrame) -> pd.DataFrame:
    assert input_columns(FEATURES, "log_return") == INPUTS
    return build_features(prices, FEATURES, "log_return", xnys_sessions(), "ACME")


def test_all_rows_at_once_are_the_same_as_session_by_session(model: Model):
    table = features_of(random_prices(120, 1, start="2015-11-02", halts=5))
    at_once = replay(model, table, START, None)
    day_by_day = [
        replay(model, table, target.date(), (target + pd.Timedelta(days=1)).date())
        for target in at_once["target_session"]
    ]
    assert all(len(frame) == 1 for frame in day_by_day)
    pd.testing.assert_frame_equal(pd.concat(day_by_day, ignore_index=True), at_once, rtol=1e-9)


def test_a_forecast_is_the_same_on_the_evening_it_is_made(model: Model):
    """As it is used live: the prices end with the session on which the forecast is made."""
    prices = random_prices(120, 2, start="2015-11-02")
    at_once = replay(model, features_of(prices), START, None)
    for row in at_once.iloc[:: len(at_once) // 15].itertuples():
        tonight = features_of(prices.loc[: row.session]).iloc[-1:]
        assert tonight["target_session"].iloc[0] == row.target_session
        shrunk, raw = model.log_returns(tonight)
        assert row.last_close * np.exp(shrunk[0]) == pytest.approx(row.predicted_close, rel=1e-9)
        assert row.last_close * np.exp(raw[0]) == pytest.approx(row.raw_predicted_close, rel=1e-9)


@given(cut=st.integers(60, 118), seed=st.integers(0, 50), halts=st.integers(0, 10))
@settings(max_examples=40)
def test_cutting_the_data_off_leaves_earlier_forecasts_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, cut: int, seed: int, halts: int
):
    model = open_model(tmp_path_factory.mktemp("models"), graph=GRAPHS["linear"])
    prices = random_prices(120, seed, start="2015-11-02", halts=halts)
    day = prices.index[min(cut, len(prices) - 1)]
    whole = replay(model, features_of(prices), START, None)
    part = replay(model, features_of(prices.loc[:day]), START, None)
    known = whole.loc[whole["target_session"] <= day]
    assert len(known)
    pd.testing.assert_frame_equal(part, known, check_exact=True)
