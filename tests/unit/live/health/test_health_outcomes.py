"""Settled forecasts as a table of errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.live.health.outcomes import COLUMNS, read_outcomes, wholly_settled


def rows(*entries: tuple[str, str, str, float, float, float]) -> pd.DataFrame:
    frame = pd.DataFrame(entries, columns=list(COLUMNS))
    return frame.assign(target_session=pd.to_datetime(frame["target_session"]))


TWO_DAYS = rows(
    ("b", "1", "2024-03-05", 200.0, 202.0, 204.0),
    ("a", "1", "2024-03-04", 100.0, 101.0, 98.0),
    ("b", "1", "2024-03-04", 100.0, 99.0, 99.5),
)


def test_errors_are_shares_of_the_last_close() -> None:
    table = read_outcomes(TWO_DAYS, {"b": "1", "a": "1"})
    assert table.models == ("a", "b")
    assert table.sessions.strftime("%m-%d").tolist() == ["03-04", "03-05"]
    np.testing.assert_allclose(table.naive, [[0.02, 0.005], [np.nan, 0.02]])
    np.testing.assert_allclose(table.loss, [[0.01, 0.0], [np.nan, -0.01]])


def test_the_order_of_rows_does_not_matter() -> None:
    table = read_outcomes(TWO_DAYS, {"a": "1", "b": "1"})
    turned = read_outcomes(TWO_DAYS[::-1], {"b": "1", "a": "1"})
    np.testing.assert_array_equal(table.loss, turned.loss)


def test_rows_of_other_models_and_versions_are_left_out() -> None:
    table = read_outcomes(TWO_DAYS, {"b": "2", "a": "1"})
    assert len(table.sessions) == 1
    assert np.isnan(table.loss[:, 1]).all()


def test_a_watched_model_without_rows_has_a_column() -> None:
    table = read_outcomes(TWO_DAYS, {"a": "1", "new": "1"})
    assert table.models == ("a", "new")
    assert np.isnan(table.naive[:, 1]).all()


def test_no_rows_give_an_empty_table() -> None:
    table = read_outcomes(TWO_DAYS[:0], {"a": "1"})
    assert table.loss.shape == (0, 1)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(DataError, match="lack the columns version, actual_close"):
        read_outcomes(TWO_DAYS.drop(columns=["version", "actual_close"]), {"a": "1"})


@pytest.mark.parametrize("price", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("column", ["last_close", "predicted_close", "actual_close"])
def test_a_bad_price_is_named(column: str, price: float) -> None:
    frame = TWO_DAYS.copy()
    frame.loc[0, column] = price
    with pytest.raises(DataError, match="1 settled forecasts with prices that are not finite and > 0: b:2024-03-05"):
        read_outcomes(frame, {"a": "1", "b": "1"})


def test_a_bad_price_of_an_old_version_does_no_harm() -> None:
    frame = pd.concat([TWO_DAYS, rows(("a", "0", "2024-03-01", 0.0, 1.0, 1.0))])
    assert len(read_outcomes(frame, {"a": "1"}).sessions) == 1


def test_a_missing_session_is_named() -> None:
    frame = TWO_DAYS.assign(target_session=TWO_DAYS["target_session"].where(TWO_DAYS["model"] == "b"))
    with pytest.raises(DataError, match="1 settled forecasts with no target session: a:NaT"):
        read_outcomes(frame, {"a": "1", "b": "1"})


def test_names_may_be_categories() -> None:
    """Journals and parquet files keep repeated names so."""
    frame = TWO_DAYS.astype({"model": "category", "version": "category"})
    table = read_outcomes(frame, {"a": "1", "b": "1", "c": "1"})
    np.testing.assert_array_equal(table.loss[:, :2], read_outcomes(TWO_DAYS, {"a": "1", "b": "1"}).loss)


def test_two_rows_for_one_session_are_refused() -> None:
    frame = pd.concat([TWO_DAYS, TWO_DAYS[1:2]])
    with pytest.raises(DataError, match="more than one row for a model and session: a:2024-03-04"):
        read_outcomes(frame, {"a": "1"})


@pytest.mark.parametrize(
    ("unsettled", "judged"),
    [
        ([], ["03-04", "03-05"]),
        (["2024-03-06"], ["03-04", "03-05"]),  # the next session, of which nothing is known
        (["2024-03-05", "2024-03-06"], ["03-04"]),  # another exchange has not closed yet
        (["2024-03-04"], ["03-04", "03-05"]),  # a halted ticker: the later session shows that it will not come
        (["2024-03-04", "2024-03-05"], ["03-04"]),
    ],
)
def test_a_session_waits_for_its_closes(unsettled: list[str], judged: list[str]) -> None:
    rest = wholly_settled(TWO_DAYS, pd.Series(pd.to_datetime(unsettled), dtype="datetime64[ns]"))
    assert sorted(set(rest["target_session"].dt.strftime("%m-%d"))) == judged


def test_nothing_settled_is_nothing_to_judge() -> None:
    assert wholly_settled(TWO_DAYS[:0], TWO_DAYS["target_session"]).empty
