"""Which moves of a close are too large for a stock, at their edges."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.units import leaps, refuse_leaps

SESSIONS = sessions("XNYS", pd.Timestamp("2024-01-02"), pd.Timestamp("2024-02-09"))


def closes(*values: float, adjusted: tuple[float, ...] | None = None, confirmed: int | None = None) -> pd.DataFrame:
    columns = {"close": values, "adj_close": adjusted or values}
    bars = pd.DataFrame(columns, index=SESSIONS[: len(values)], dtype="float64")
    return bars.assign(confirmed=np.arange(len(values)) == confirmed)


def leaping(*ratios: float) -> list[bool]:
    return leaps(np.log(np.array(ratios))).tolist()


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ((1.0, 1.0), [False, False]),
        ((7.99, 1.0), [False, False]),
        ((8.01, 1.0), [True, False]),
        ((1 / 8.01, 1.0), [True, False]),
        ((1.0, 8.01), [False, True]),
        ((4.0, 1.0), [False, False]),  # a lasting rise
        ((4.0, 1 / 4.0), [True, True]),  # a spike
        ((1 / 4.0, 4.0), [True, True]),
        ((2.9, 1 / 2.9), [False, False]),  # too small for a spike
        ((4.0, 1 / 3.1), [True, True]),  # comes back to within x1.5
        ((6.0, 1 / 3.5), [False, False]),  # does not
        ((4.0, 1.0, 1 / 4.0), [False, False, False]),  # two rows high
        ((1.0, 4.0), [False, False]),  # the last row may be a spike or not
        ((4.0, 1 / 4.0, 4.0, 1 / 4.0), [True, True, True, True]),
    ],
)
def test_leaps_and_spikes_at_their_edges(ratios, expected):
    assert leaping(*ratios) == expected


@given(st.lists(st.floats(0.4, 2.5), max_size=30))
def test_moves_of_real_stocks_are_no_leaps(ratios):
    assert not any(leaping(*ratios))


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=12))
def test_falls_are_judged_like_rises(moves):
    logs = np.array(moves)
    assert leaps(logs).tolist() == leaps(-logs).tolist()


def test_the_message_names_the_days_and_closes():
    with pytest.raises(DataError) as raised:
        refuse_leaps(closes(10, 100, 100, 1), "T")
    assert raised.value.message == ("T: the close leaps on 2 days: 2024-01-03 (10 -> 100), 2024-01-05 (100 -> 1)")
    assert "misplaced decimal point" in raised.value.hint


def test_a_single_leap_is_one_day():
    with pytest.raises(DataError, match="leaps on 1 day: "):
        refuse_leaps(closes(10, 10, 100), "T")


def test_at_most_five_days_are_shown():
    values = [10.0 if row % 2 else 100.0 for row in range(20)]
    with pytest.raises(DataError) as raised:
        refuse_leaps(closes(*values), "T")
    assert raised.value.message.startswith("T: the close leaps on 19 days: ")
    assert raised.value.message.count("->") == 5


@pytest.mark.parametrize("at_least", [1, 2, 3])
def test_fewer_leaps_than_asked_for_pass(at_least):
    bars = closes(10, 100, 100, 1)
    if at_least > 2:
        refuse_leaps(bars, "T", at_least=at_least)
    else:
        with pytest.raises(DataError):
            refuse_leaps(bars, "T", at_least=at_least)


def test_the_smaller_move_of_close_and_adjusted_close_counts():
    refuse_leaps(closes(100, 10, 10, adjusted=(11, 10, 10)), "T")
    refuse_leaps(closes(11, 10, 10, adjusted=(100, 10, 10)), "T")
    with pytest.raises(DataError):
        refuse_leaps(closes(100, 10, 10, adjusted=(90, 10, 10)), "T")


def test_only_the_confirmed_day_is_accepted():
    refuse_leaps(closes(10, 100, 100, confirmed=1), "T")
    with pytest.raises(DataError):
        refuse_leaps(closes(10, 100, 100, confirmed=2), "T")


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_for_a_move(rows):
    refuse_leaps(closes(*[10.0] * rows), "T")
