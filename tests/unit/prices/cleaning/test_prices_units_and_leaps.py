from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.rules import clean
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2019-01-01"), pd.Timestamp("2021-12-31"))
PRICES = ["open", "high", "low", "close", "adj_close"]


def bars(rows: int = 200) -> pd.DataFrame:
    table = generated_bars(SESSIONS[:rows], seed=5, price=40.0).rename_axis("session")
    return table.assign(adj_close=table["close"] * 0.7)


def rule_counts(repairs):
    return {repair.rule: repair.count for repair in repairs}


@pytest.mark.parametrize("factor", [100.0, 0.01])
@pytest.mark.parametrize("rows", [[50], [0], [199], [50, 51, 52], [10, 90, 150]], ids=str)
def test_rows_in_the_wrong_unit_are_brought_back(rows, factor):
    raw = bars()
    raw.loc[SESSIONS[rows], PRICES] *= factor
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, bars(), rtol=1e-9)
    assert rule_counts(repairs) == {"unit_100x": len(rows)}


@pytest.mark.parametrize("column", PRICES)
def test_single_cells_in_the_wrong_unit_are_brought_back(column):
    raw = bars()
    raw.loc[SESSIONS[50], column] *= 100
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, bars(), rtol=1e-9)
    assert rule_counts(repairs) == {"unit_100x": 1}
    assert repairs[0].examples == (str(SESSIONS[50].date()),)


def test_closes_in_the_wrong_unit_under_a_right_adjusted_close():
    raw = bars()
    raw.loc[SESSIONS[50], ["open", "high", "low", "close"]] *= 100
    table, _ = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, bars(), rtol=1e-9)


def test_rows_without_volume_do_not_outvote_rows_that_traded():
    raw = bars(20)
    raw.loc[SESSIONS[8:20], PRICES] /= 100
    raw.loc[SESSIONS[8:20], "volume"] = 0.0
    table, repairs = clean(raw, "T", SESSIONS)
    np.testing.assert_allclose(table[PRICES], bars(20)[PRICES])
    assert rule_counts(repairs) == {"unit_100x": 12}


@pytest.mark.parametrize(
    ("rows", "share"),
    [(slice(120, 200), "40%"), (slice(170, 200), "15%"), (slice(0, 30), "15%"), (slice(50, 110), "30%")],
    ids=["a balance", "a lasting change", "a late start", "a long stretch"],
)
def test_units_of_unclear_side_are_refused(rows, share):
    raw = bars()
    raw.iloc[rows, :5] /= 100
    with pytest.raises(DataError) as caught:
        clean(raw, "T", SESSIONS)
    assert "factor of 100" in caught.value.message
    assert str(SESSIONS[rows.start or rows.stop].date()) in caught.value.message
    assert f"and {share} of" in caught.value.message


@pytest.mark.parametrize("rows", [slice(80, 125), slice(182, 200)], ids=["a stretch that ends", "a few last rows"])
def test_rare_units_are_repaired(rows):
    raw = bars()
    raw.iloc[rows, :5] /= 100
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, bars(), rtol=1e-9)
    assert rule_counts(repairs) == {"unit_100x": rows.stop - rows.start}


def test_a_split_of_one_for_hundred_that_is_declared_is_no_unit_error():
    raw = bars()
    raw.loc[SESSIONS[:180], PRICES] /= 100
    raw.loc[SESSIONS[:180], "volume"] *= 100
    raw["stock_splits"] = np.where(np.arange(200) == 180, 0.01, 0.0)
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, bars(), rtol=1e-9)
    assert rule_counts(repairs) == {"unadjusted_split": 1}


def test_a_slipped_decimal_is_refused_with_its_day():
    raw = bars()
    raw.loc[SESSIONS[50], PRICES] *= 10
    with pytest.raises(DataError) as caught:
        clean(raw, "T", SESSIONS)
    assert str(SESSIONS[50].date()) in caught.value.message
    assert "leaps" in caught.value.message


def test_a_spike_of_one_row_is_refused():
    raw = bars()
    raw.loc[SESSIONS[50], PRICES] *= 5
    with pytest.raises(DataError, match="leaps on 2 days"):
        clean(raw, "T", SESSIONS)


def test_a_lasting_rise_to_four_times_is_kept():
    raw = bars()
    raw.loc[SESSIONS[50:200], PRICES] *= 4.27
    raw.loc[SESSIONS[50], "volume"] *= 30
    table, repairs = clean(raw, "T", SESSIONS)
    pd.testing.assert_frame_equal(table, raw)
    assert repairs == ()


def test_two_instruments_in_one_file_are_refused_as_that():
    raw = bars()
    raw.loc[SESSIONS[40:160:3], PRICES] *= np.linspace(15, 130, 40)[:, None]
    with pytest.raises(DataError) as caught:
        clean(raw, "T", SESSIONS)
    assert "leaps on" in caught.value.message
    assert caught.value.message.count("->") == 5
    assert "two instruments" in caught.value.hint


def test_a_leap_can_be_confirmed():
    raw = bars()
    raw.loc[SESSIONS[50:200], PRICES] *= 17.3
    with pytest.raises(DataError, match="leaps"):
        clean(raw, "T", SESSIONS)
    raw["stock_splits"] = np.where(np.arange(200) == 50, 1.0, 0.0)
    table, _ = clean(raw, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], raw["close"])


def test_a_dividend_of_nine_tenths_is_no_leap():
    raw = bars()
    raw.loc[SESSIONS[:50], ["open", "high", "low", "close"]] *= 11.37
    table, _ = clean(raw, "T", SESSIONS)
    np.testing.assert_array_equal(table["close"], raw["close"])
