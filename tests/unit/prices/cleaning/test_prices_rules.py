from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.rules import PRICE_COLUMNS, Repair, clean
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2019-01-01"), pd.Timestamp("2021-12-31"))


def bars(rows: int = 60, seed: int = 1) -> pd.DataFrame:
    return generated_bars(SESSIONS[:rows], seed).rename_axis("session")


def rules(repairs: tuple[Repair, ...]) -> dict[str, int]:
    return {repair.rule: repair.count for repair in repairs}


def day(row: int) -> str:
    return str(SESSIONS[row].date())


def test_a_clean_table_comes_back_unchanged():
    table, repairs = clean(bars(), "T", SESSIONS)
    pd.testing.assert_frame_equal(table, bars())
    assert repairs == ()
    assert tuple(table.columns) == PRICE_COLUMNS


def test_rows_out_of_order_are_sorted_and_counted():
    table, repairs = clean(bars().iloc[::-1], "T", SESSIONS)
    pd.testing.assert_frame_equal(table, bars())
    assert rules(repairs) == {"out_of_order": 59}


def test_exact_duplicates_are_dropped():
    raw = bars()
    table, repairs = clean(pd.concat([raw, raw.iloc[5:8]]), "T", SESSIONS)
    pd.testing.assert_frame_equal(table, raw)
    assert rules(repairs) == {"out_of_order": 1, "duplicates": 3}
    assert repairs[1].examples == (day(5), day(6), day(7))


def test_prints_of_one_price_with_other_rounding_are_duplicates():
    raw = bars()
    table, repairs = clean(pd.concat([raw, raw.iloc[[9]].round(2)]), "T", SESSIONS)
    assert rules(repairs)["duplicates"] == 1
    assert len(table) == 60


def running(raw: pd.DataFrame, row: int) -> pd.DataFrame:
    """The bar of a session as it looked before the end."""
    early = raw.iloc[[row]].copy()
    early["close"] = early["adj_close"] = (early["high"] + early["low"]) / 2
    early["high"] = early[["open", "close"]].max(axis=1)
    early["low"] = early[["open", "close"]].min(axis=1)
    return early.assign(volume=early["volume"] / 3)


@pytest.mark.parametrize("first", [True, False])
def test_an_earlier_state_of_a_running_bar_gives_way_to_the_full_one(first):
    raw = bars()
    parts = [running(raw, -1), raw] if first else [raw, running(raw, -1)]
    table, repairs = clean(pd.concat(parts), "T", SESSIONS)
    pd.testing.assert_frame_equal(table, raw)
    assert rules(repairs)["duplicates"] == 1


def test_two_different_bars_for_one_session_are_refused():
    raw = bars()
    other = raw.iloc[[7]] * 1.05
    with pytest.raises(DataError) as caught:
        clean(pd.concat([raw, other]), "T", SESSIONS)
    assert caught.value.message.startswith("T: 1 sessions have two different bars")
    assert day(7) in caught.value.message


def test_one_session_in_two_adjustments_is_refused():
    raw = bars()
    restated = raw.iloc[[7]].assign(adj_close=lambda row: row["adj_close"] * 0.98)
    with pytest.raises(DataError, match="two different bars"):
        clean(pd.concat([raw, restated]), "T", SESSIONS)


def test_rows_with_null_prices_are_dropped():
    raw = bars()
    raw.iloc[3, :] = np.nan
    raw.iloc[4, raw.columns.get_loc("close")] = np.nan
    table, repairs = clean(raw, "T", SESSIONS)
    assert rules(repairs) == {"nulls": 2, "missing_sessions": 2}
    assert repairs[0].examples == (day(3), day(4))
    pd.testing.assert_frame_equal(table, bars().drop(SESSIONS[3:5]))


@pytest.mark.parametrize("value", [-5.0, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
def test_impossible_prices_are_dropped(column, value):
    raw = bars()
    raw.loc[SESSIONS[9], column] = value
    table, repairs = clean(raw, "T", SESSIONS)
    assert rules(repairs) == {"non_positive": 1, "missing_sessions": 1}
    assert SESSIONS[9] not in table.index


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_impossible_volumes_become_zero(value):
    raw = bars()
    raw.loc[SESSIONS[9], "volume"] = value
    table, repairs = clean(raw, "T", SESSIONS)
    assert rules(repairs) == {"bad_volume": 1}
    assert table.loc[SESSIONS[9], "volume"] == 0


def test_the_close_stands_in_for_a_missing_adjusted_close():
    table, repairs = clean(bars().assign(adj_close=np.nan), "T", SESSIONS)
    assert repairs == (Repair("missing_adj_close", 60),)
    assert (table["adj_close"] == table["close"]).all()


def test_single_missing_adjusted_closes_follow_the_factor_of_the_row_before():
    raw = bars().assign(adj_close=lambda frame: frame["close"] * 0.9)
    raw.loc[[SESSIONS[0], SESSIONS[9]], "adj_close"] = [np.nan, -1.0]
    table, repairs = clean(raw, "T", SESSIONS)
    assert rules(repairs) == {"bad_adj_close": 2}
    np.testing.assert_allclose(table["adj_close"], table["close"] * 0.9)


def test_swapped_high_and_low_are_swapped_back():
    raw = bars()
    raw.loc[SESSIONS[9], ["high", "low"]] = raw.loc[SESSIONS[9], ["low", "high"]].to_numpy()
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, bars())
    assert rules(repairs) == {"swapped_high_low": 1}


@pytest.mark.parametrize("column", ["open", "close"])
@pytest.mark.parametrize("side", ["high", "low"])
def test_a_price_just_outside_the_range_widens_it(column, side):
    raw = bars()
    beyond = raw.loc[SESSIONS[9], side] * (1.01 if side == "high" else 0.99)
    raw.loc[SESSIONS[9], column] = beyond
    table, repairs = clean(raw, "T", SESSIONS)
    assert rules(repairs) == {"widened_range": 1}
    assert table.loc[SESSIONS[9], side] == beyond
    assert table.loc[SESSIONS[9], column] == beyond


def test_a_price_far_outside_the_range_drops_the_row():
    raw = bars()
    raw.loc[SESSIONS[9], "close"] = raw.loc[SESSIONS[9], "high"] * 1.2
    table, repairs = clean(raw, "T", SESSIONS)
    assert rules(repairs) == {"inconsistent_bar": 1, "missing_sessions": 1}
    assert SESSIONS[9] not in table.index


def test_high_below_low_without_a_provable_swap_drops_the_row():
    raw = bars()
    low = raw.loc[SESSIONS[9], "low"]
    raw.loc[SESSIONS[9], "high"] = low * 0.5
    table, repairs = clean(raw, "T", SESSIONS)
    assert rules(repairs)["inconsistent_bar"] == 1
    assert (table["high"] >= table["low"]).all()


def test_rows_on_days_without_a_session_are_dropped():
    raw = bars()
    saturday = raw.iloc[[3]].set_axis(pd.DatetimeIndex(["2019-01-12"]))
    table, repairs = clean(pd.concat([raw, saturday]), "T", SESSIONS)
    pd.testing.assert_frame_equal(table, raw)
    assert rules(repairs) == {"out_of_order": 1, "non_sessions": 1}
    assert repairs[1].examples == ("2019-01-12",)


def test_prices_of_another_exchange_are_refused_with_the_key_to_set():
    hong_kong = sessions("XHKG", pd.Timestamp("2019-01-01"), pd.Timestamp("2020-12-31"))
    with pytest.raises(DataError) as caught:
        clean(generated_bars(hong_kong), "0005.HK", SESSIONS)
    assert "traded on days when the exchange was closed" in caught.value.message
    assert "exchange:" in caught.value.hint


def test_stale_quotes_on_foreign_holidays_are_only_dropped():
    every_weekday = pd.bdate_range("2019-01-02", "2020-12-31")
    raw = generated_bars(every_weekday)
    raw.loc[~raw.index.isin(SESSIONS), "volume"] = 0.0
    _, repairs = clean(raw, "T", SESSIONS)
    assert rules(repairs) == {"non_sessions": 17}


def test_rows_before_the_calendar_are_dropped():
    table, repairs = clean(bars(), "T", SESSIONS[10:])
    assert rules(repairs) == {"outside_calendar": 10}
    pd.testing.assert_frame_equal(table, bars().iloc[10:])


def test_no_sessions_at_all_leaves_nothing():
    table, repairs = clean(bars(5), "T", SESSIONS[:0])
    assert table.empty
    assert tuple(table.columns) == PRICE_COLUMNS
    assert rules(repairs) == {"outside_calendar": 5}


def test_missing_sessions_are_noted():
    _, repairs = clean(bars().drop(SESSIONS[[20, 21]]), "T", SESSIONS)
    assert repairs == (Repair("missing_sessions", 2, (day(20), day(21))),)


@pytest.mark.parametrize("step", [5, 21])
def test_weekly_and_monthly_bars_are_refused(step):
    with pytest.raises(DataError, match="weekly or monthly") as caught:
        clean(generated_bars(SESSIONS[::step]), "T", SESSIONS)
    assert f"{step} sessions apart" in caught.value.message


def test_time_of_day_and_zone_are_cut_off():
    raw = bars()
    stamped = raw.set_axis((raw.index + pd.Timedelta(hours=9, minutes=30)).tz_localize("America/New_York"))
    table, repairs = clean(stamped, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, raw)
    assert repairs == ()


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match="no column low"):
        clean(bars().drop(columns="low"), "T", SESSIONS)


def test_rows_without_a_date_are_refused():
    raw = bars()
    raw.index = raw.index.where(raw.index != SESSIONS[3])
    with pytest.raises(DataError, match="1 rows have no date"):
        clean(raw, "T", SESSIONS)


def test_cleaning_leaves_its_input_alone():
    raw = bars().iloc[::-1].copy()
    raw.iloc[3, 0] = np.nan
    before = raw.copy()
    clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(raw, before)


dirt = st.lists(
    st.tuples(
        st.integers(0, 59),
        st.sampled_from(["open", "high", "low", "close", "volume", "adj_close"]),
        st.sampled_from([np.nan, 0.0, -1.0, np.inf, "slightly up", "slightly down"]),
    ),
    max_size=12,
    unique_by=lambda fault: fault[:2],
)


def dirtied(seed: int, faults: list) -> pd.DataFrame:
    raw = bars(seed=seed)
    for row, column, value in faults:
        cell = (SESSIONS[row], column)
        if isinstance(value, str):
            raw.loc[cell] *= 1.01 if value.endswith("up") else 0.99
        else:
            raw.loc[cell] = value
    return raw


@given(seed=st.integers(0, 1000), faults=dirt)
@settings(max_examples=60)
def test_cleaning_is_idempotent(seed, faults):
    once, _ = clean(dirtied(seed, faults), "T", SESSIONS)
    twice, repairs = clean(once, "T", SESSIONS)
    pd.testing.assert_frame_equal(once, twice)
    assert set(rules(repairs)) <= {"missing_sessions"}


@given(seed=st.integers(0, 1000), faults=dirt, order=st.randoms(use_true_random=False), again=st.integers(0, 59))
@settings(max_examples=60)
def test_shuffled_and_repeated_rows_give_the_same_table(seed, faults, order, again):
    # rows without an adjusted close take the factor of a neighbour, which is well defined for one row per session only
    raw = dirtied(seed, [fault for fault in faults if fault[1] != "adj_close"])
    expected, _ = clean(raw, "T", SESSIONS)
    rows = [*range(len(raw)), *range(again, min(again + 10, len(raw)))]
    order.shuffle(rows)
    table, _ = clean(raw.iloc[rows], "T", SESSIONS)
    pd.testing.assert_frame_equal(table, expected)


@given(seed=st.integers(0, 1000), faults=dirt)
@settings(max_examples=60)
def test_whatever_comes_out_fulfils_the_contract_and_every_loss_is_counted(seed, faults):
    raw = dirtied(seed, faults)
    table, repairs = clean(raw, "T", SESSIONS)
    values = table.to_numpy()
    assert np.isfinite(values).all()
    assert (values[:, :5] > 0).all()
    assert (values[:, 5] >= 0).all()
    assert (table["high"] >= table[["open", "close", "low"]].max(axis=1)).all()
    assert (table["low"] <= table[["open", "close"]].min(axis=1)).all()
    counted = rules(repairs)
    dropped = sum(counted.get(rule, 0) for rule in ("nulls", "non_positive", "inconsistent_bar"))
    assert len(raw) - len(table) == dropped
