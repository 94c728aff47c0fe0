"""The split by date: nothing whose target lies in the held-out time is seen, and short histories are refused."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import Training
from mlops_cli.errors import DataError
from mlops_cli.training.rows import split_rows
from tests.fakes.price_tables import xnys_sessions

SESSIONS = xnys_sessions()
FIRST = SESSIONS.searchsorted(pd.Timestamp("2015-01-02"))


def table_of(rows: int, missing: tuple[int, ...] = ()) -> pd.DataFrame:
    """A feature table in which only what the split looks at is real."""
    index = SESSIONS[FIRST : FIRST + rows]
    target = np.linspace(-0.01, 0.01, rows)
    target[list(missing)] = np.nan
    following = SESSIONS[FIRST + 1 : FIRST + rows + 1]
    return pd.DataFrame({"target": target, "target_session": following}, index=index)


def training(validation: int = 20, least: int = 60) -> Training:
    return Training(validation_sessions=validation, min_sessions=least)


def day(position: int) -> date:
    return SESSIONS[FIRST + position].date()


def test_validation_is_the_last_sessions_before_the_held_out_time():
    split = split_rows(table_of(150), day(101), training(), "ACME")
    # row 99's target is session 100; row 100's target is session 101, which is held out
    assert len(split.train) == 80
    assert [split.train.index[0].date(), split.train.index[-1].date()] == [day(0), day(79)]
    assert len(split.validation) == 20
    assert [split.validation.index[0].date(), split.validation.index[-1].date()] == [day(80), day(99)]
    assert split.validation_start == day(80)
    assert split.trained_until == day(100)
    pd.testing.assert_frame_equal(split.used, table_of(150).iloc[:100])


def test_a_start_between_sessions_holds_out_from_the_next_one():
    saturday = date(2015, 6, 6)
    on_saturday = split_rows(table_of(200), saturday, training(), "ACME")
    on_monday = split_rows(table_of(200), date(2015, 6, 8), training(), "ACME")
    assert on_saturday.trained_until == date(2015, 6, 5)
    pd.testing.assert_frame_equal(on_saturday.used, on_monday.used)


def test_rows_without_a_target_are_left_out_and_do_not_count():
    split = split_rows(table_of(150, missing=(0, 50, 99)), day(101), training(), "ACME")
    assert len(split.used) == 97
    assert split.used["target"].notna().all()
    assert split.trained_until == day(99)
    assert len(split.validation) == 20


def test_a_start_after_the_data_uses_all_rows_with_a_target():
    split = split_rows(table_of(100, missing=(99,)), date(2030, 1, 1), training(), "ACME")
    assert len(split.used) == 99


@pytest.mark.parametrize(("rows", "validating"), [(60, 15), (79, 19), (80, 20), (81, 20), (400, 20)])
def test_validation_takes_at_most_a_quarter(rows: int, validating: int):
    split = split_rows(table_of(rows), date(2030, 1, 1), training(validation=20), "ACME")
    assert (len(split.train), len(split.validation)) == (rows - validating, validating)


def test_a_short_history_is_refused_with_what_is_there_and_what_is_asked():
    with pytest.raises(DataError) as refusal:
        split_rows(table_of(150), day(60), training(least=60), "ACME")
    assert refusal.value.message == (
        f"ACME: history too short: 59 sessions before {day(60)}, training.min_sessions asks for 60 "
        f"(the data reach from {day(0)} to {day(149)})"
    )
    assert "period.start" in refusal.value.hint
    assert refusal.value.exit_code == 4


def test_one_row_more_is_enough():
    assert len(split_rows(table_of(150), day(61), training(least=60), "ACME").used) == 60


def test_no_rows_at_all_are_a_short_history_too():
    with pytest.raises(DataError, match=r"0 sessions before .* \(no rows\)"):
        split_rows(table_of(0), day(61), training(), "ACME")


@given(
    rows=st.integers(60, 400),
    start=st.integers(-10, 700),
    validation=st.integers(20, 300),
    missing=st.sets(st.integers(0, 59), max_size=30),
)
@settings(max_examples=150)
def test_every_row_is_train_or_validation_or_unseen(rows: int, start: int, validation: int, missing: set[int]):
    table = table_of(rows, tuple(missing))
    first_hidden = day(0) + timedelta(days=start)
    try:
        split = split_rows(table, first_hidden, training(validation), "ACME")
    except DataError:
        usable = table["target"].notna() & (table["target_session"] < pd.Timestamp(first_hidden))
        assert usable.sum() < 60
        return
    held_out = pd.Timestamp(first_hidden)
    assert (split.used["target_session"] < held_out).all()
    unseen = table.drop(split.used.index)
    assert ((unseen["target_session"] >= held_out) | unseen["target"].isna()).all()
    # no day's close is the target of a training row and known only to the validation
    assert split.train["target_session"].max() <= pd.Timestamp(split.validation_start)
    assert len(split.train) >= 3 * len(split.validation)
    assert split.trained_until < first_hidden
    assert split.used.index.is_monotonic_increasing
