"""Names, order and warm-up of the input columns."""

from __future__ import annotations

import pytest

from mlops_cli.config.schemas.project import FeatureSpec, Macd
from mlops_cli.errors import ConfigError
from mlops_cli.features.build import history_columns, input_columns, sessions_needed

EVERYTHING = FeatureSpec(
    returns=(1, 5),
    ranges=True,
    moving_averages=(20,),
    rsi=(14,),
    macd=Macd(),
    volatility=(21,),
    volume=(5,),
    calendar=("day_of_week", "month", "days_to_next_session"),
    history=3,
)


def test_every_family_in_fixed_order() -> None:
    assert input_columns(EVERYTHING, "log_return") == (
        "return_1",
        "return_5",
        "range_high_low",
        "range_open_close",
        "close_position",
        "sma_ratio_20",
        "rsi_14",
        "macd",
        "macd_signal",
        "macd_histogram",
        "volatility_21",
        "volume_ratio_5",
        "day_of_week",
        "month",
        "days_to_next_session",
        "history_00",
        "history_01",
        "history_02",
    )


def test_predicting_a_close_needs_the_close() -> None:
    columns = input_columns(EVERYTHING, "close")
    assert [name for name in columns if name not in input_columns(EVERYTHING, "log_return")] == ["close"]
    assert columns[-3:] == history_columns(EVERYTHING), "history stays last"


def test_columns_follow_the_order_of_the_config() -> None:
    spec = FeatureSpec(returns=(5, 1), calendar=("month", "day_of_week"))
    assert input_columns(spec, "log_return") == ("return_5", "return_1", "month", "day_of_week")


def test_a_window_given_twice_counts_once() -> None:
    assert input_columns(FeatureSpec(returns=(5, 1, 5)), "log_return") == ("return_5", "return_1")


@pytest.mark.parametrize(
    ("history", "first", "last"), [(1, "history_00", "history_00"), (100, "history_00", "history_99")]
)
def test_history_names(history: int, first: str, last: str) -> None:
    names = history_columns(FeatureSpec(history=history))
    assert (len(names), names[0], names[-1]) == (history, first, last)


def test_long_histories_still_sort_by_name() -> None:
    names = history_columns(FeatureSpec(history=101))
    assert names[0] == "history_000"
    assert list(names) == sorted(names)


def test_no_history_no_columns() -> None:
    assert history_columns(FeatureSpec(returns=(1,))) == ()


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        (FeatureSpec(calendar=("month",)), 1),
        (FeatureSpec(ranges=True), 1),
        (FeatureSpec(returns=(1,)), 2),
        (FeatureSpec(returns=(21, 5)), 22),
        (FeatureSpec(moving_averages=(200,)), 200),
        (FeatureSpec(volatility=(21,)), 22),
        (FeatureSpec(volume=(5,)), 6),
        (FeatureSpec(history=30), 31),
        # 14 changes to start with, then (13/14)^187 <= 1e-6.
        (FeatureSpec(rsi=(14,)), 14 + 187 + 1),
        # 26 + 9 - 2 = 33 bars to start with, then (25/27)^180 <= 1e-6.
        (FeatureSpec(macd=Macd()), 33 + 180 + 1),
        # A signal slower than the averages is what takes longest to settle: (49/51)^346 <= 1e-6.
        (FeatureSpec(macd=Macd(signal=50)), 74 + 346 + 1),
    ],
)
def test_sessions_needed(spec: FeatureSpec, needed: int) -> None:
    assert sessions_needed(spec) == needed


@pytest.mark.parametrize("key", ["moving_averages", "rsi", "volatility"])
def test_a_window_of_one_is_refused_where_it_means_nothing(key: str) -> None:
    spec = FeatureSpec.model_validate({"returns": (1,), key: (5, 1)})
    with pytest.raises(ConfigError, match=rf"features\.{key}: expected windows of 2 sessions or more, was 1"):
        input_columns(spec, "log_return")


def test_all_windows_of_one_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        input_columns(FeatureSpec(rsi=(1,), volatility=(1,)), "log_return")
    assert "features.rsi" in raised.value.message
    assert "features.volatility" in raised.value.message


def test_a_window_of_one_is_fine_elsewhere() -> None:
    assert input_columns(FeatureSpec(returns=(1,), volume=(1,)), "log_return") == ("return_1", "volume_ratio_1")
