"""The contract of the long frame of forecasts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.evaluation.frame import (
    FORECAST_COLUMNS,
    PRICE_COLUMNS,
    check_forecasts,
    forecast_columns,
    interval_levels,
    with_base_columns,
)
from tests.fakes.forecast_frames import forecast_frame, market_returns, noise, with_intervals


@pytest.fixture
def frame() -> pd.DataFrame:
    return forecast_frame(market_returns(3, 8, 0), noise(3, 8, 0))


def test_columns_come_in_the_agreed_order() -> None:
    assert FORECAST_COLUMNS == (
        "model", "team", "ticker", "session", "target_session",
        "last_close", "predicted_close", "raw_predicted_close", "actual_close", "drift_predicted_close",
        "base_predicted_close", "announced_dividend",
    )  # fmt: skip


def test_any_order_of_rows_and_columns_gives_the_same_frame(frame: pd.DataFrame) -> None:
    mixed = frame.sample(frac=1, random_state=1)[list(reversed(FORECAST_COLUMNS))]
    pd.testing.assert_frame_equal(check_forecasts(mixed), check_forecasts(frame))


def test_result_is_sorted_fresh_and_float64(frame: pd.DataFrame) -> None:
    whole = frame.assign(last_close=np.arange(1, len(frame) + 1))
    before = whole.copy()
    checked = check_forecasts(whole)
    assert checked.index.tolist() == list(range(len(frame)))
    assert list(checked.columns) == list(FORECAST_COLUMNS)
    assert (checked[list(PRICE_COLUMNS)].dtypes == "float64").all()
    assert checked["model"].is_monotonic_increasing
    assert checked.groupby("model")["session"].is_monotonic_increasing.all()
    pd.testing.assert_frame_equal(whole, before)


def test_parquet_keeps_the_contract(frame: pd.DataFrame, tmp_path) -> None:
    frame.to_parquet(tmp_path / "f.parquet", index=False)
    pd.testing.assert_frame_equal(check_forecasts(pd.read_parquet(tmp_path / "f.parquet")), check_forecasts(frame))


def test_plain_object_text_is_accepted(frame: pd.DataFrame) -> None:
    assert len(check_forecasts(frame.astype({"model": object, "team": object, "ticker": object}))) == len(frame)


def test_no_rows(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="no forecasts to judge"):
        check_forecasts(frame.iloc[:0])


def test_missing_and_unknown_columns_are_both_named(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="columns missing: last_close; unknown: close"):
        check_forecasts(frame.rename(columns={"last_close": "close"}))


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("session", "2023-01-02", "session is str"),
        ("last_close", "12", "last_close is str"),
        ("team", 1, "team is int"),
    ],
)
def test_wrong_types_are_named(frame: pd.DataFrame, column: str, values: object, told: str) -> None:
    with pytest.raises(DataError, match=told):
        check_forecasts(frame.assign(**{column: values}))


def test_time_zones_are_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="session is datetime64"):
        check_forecasts(frame.assign(session=frame["session"].dt.tz_localize("UTC")))


@pytest.mark.parametrize("column", PRICE_COLUMNS)
@pytest.mark.parametrize("price", [np.nan, np.inf, 0.0, -1.0])
def test_broken_prices_are_told_with_model_and_day(frame: pd.DataFrame, column: str, price: float) -> None:
    frame.loc[3, column] = price
    day = f"{frame.loc[3, 'session']:%Y-%m-%d}"
    with pytest.raises(DataError, match=f"1 forecasts with prices not finite and > 0: red-s000:{day}"):
        check_forecasts(frame)


def test_long_faults_are_bounded(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=r"24 forecasts with prices .* and 19 more"):
        check_forecasts(frame.assign(actual_close=-1.0))


def test_target_must_follow_its_session(frame: pd.DataFrame) -> None:
    frame.loc[0, "target_session"] = frame.loc[0, "session"]
    with pytest.raises(DataError, match="target_session not after session: red-s000:2023-01-02"):
        check_forecasts(frame)


def test_missing_session_is_refused(frame: pd.DataFrame) -> None:
    frame.loc[0, "target_session"] = pd.NaT
    with pytest.raises(DataError, match="target_session not after session"):
        check_forecasts(frame)


def test_one_forecast_per_model_and_session(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="more than one row for a model and session: red-s000:2023-01-02"):
        check_forecasts(pd.concat([frame, frame.iloc[:1]]))


@pytest.mark.parametrize("column", ["team", "ticker"])
def test_a_model_belongs_to_one_team_and_ticker(frame: pd.DataFrame, column: str) -> None:
    frame.loc[0, column] = "other"
    with pytest.raises(DataError, match="more than one team or ticker: red-s000"):
        check_forecasts(frame)


@pytest.mark.parametrize("dividend", [np.nan, np.inf, -0.1])
def test_broken_dividends_are_told_with_model_and_day(frame: pd.DataFrame, dividend: float) -> None:
    frame.loc[3, "announced_dividend"] = dividend
    with pytest.raises(DataError, match="1 forecasts with dividends not finite and >= 0: red-s000:2023-01-05"):
        check_forecasts(frame)


@pytest.fixture
def with_two_levels(frame: pd.DataFrame) -> pd.DataFrame:
    return with_intervals(frame, {80.0: 0.01, 97.5: 0.02}, {80.0: 0.012, 97.5: 0.024})


def test_intervals_of_any_level_are_accepted_in_any_order(frame: pd.DataFrame, with_two_levels: pd.DataFrame) -> None:
    assert interval_levels(frame) == ()
    assert interval_levels(with_two_levels) == (80.0, 97.5)
    checked = check_forecasts(with_two_levels[list(reversed(with_two_levels.columns))])
    assert list(checked.columns) == [
        *FORECAST_COLUMNS, "lower_80", "upper_80", "lower_97.5", "upper_97.5", "constant_80", "constant_97.5",
    ] == forecast_columns((80.0, 97.5))  # fmt: skip


def test_forecasts_of_models_with_and_without_intervals_join(
    frame: pd.DataFrame, with_two_levels: pd.DataFrame
) -> None:
    red = frame["model"] == "red-s000"
    checked = check_forecasts(pd.concat([frame[red], with_two_levels[~red]]))
    assert checked["lower_80"].isna().tolist() == (checked["model"] == "red-s000").tolist()


@pytest.mark.parametrize("column", ["upper_80", "constant_97.5"])
def test_a_level_is_whole_or_refused(with_two_levels: pd.DataFrame, column: str) -> None:
    with pytest.raises(DataError, match=f"columns missing: {column}; unknown: none"):
        check_forecasts(with_two_levels.drop(columns=column))


@pytest.mark.parametrize("column", ["lower_100", "lower_", "lower_x", "upper_90"])
def test_what_is_no_level_is_an_unknown_column(frame: pd.DataFrame, column: str) -> None:
    with pytest.raises(DataError, match=f"unknown: {column}"):
        check_forecasts(frame.assign(**{column: 1.0}))


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("lower_80", np.nan, "a broken 80 % interval"),
        ("upper_80", np.inf, "a broken 80 % interval"),
        ("upper_80", 1e-9, "a broken 80 % interval"),
        ("constant_97.5", -0.1, "a broken width constant_97.5"),
        ("constant_97.5", np.inf, "a broken width constant_97.5"),
    ],
)
def test_broken_intervals_are_told_with_model_and_day(
    with_two_levels: pd.DataFrame, column: str, value: float, fault: str
) -> None:
    with_two_levels.loc[3, column] = value
    with pytest.raises(DataError, match=f"1 forecasts with {fault}: red-s000:2023-01-05"):
        check_forecasts(with_two_levels)


def test_a_forecast_without_an_interval_is_no_fault(with_two_levels: pd.DataFrame) -> None:
    with_two_levels.loc[3, ["lower_80", "upper_80", "constant_80"]] = np.nan
    assert check_forecasts(with_two_levels)["lower_80"].isna().sum() == 1


def test_forecasts_of_an_older_version_had_no_base(frame: pd.DataFrame) -> None:
    old = frame.drop(columns=["base_predicted_close", "announced_dividend"])
    pd.testing.assert_frame_equal(check_forecasts(with_base_columns(old)), check_forecasts(frame))
    pd.testing.assert_frame_equal(
        with_base_columns(frame.assign(base_predicted_close=1.0)), frame.assign(base_predicted_close=1.0)
    )
    assert with_base_columns(old.iloc[:0]).empty
