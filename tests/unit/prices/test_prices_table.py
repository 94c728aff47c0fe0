from __future__ import annotations

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import ConfigError, DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.cleaning.rules import Repair
from mlops_cli.prices.sources.source import RawBars
from mlops_cli.prices.table import COLUMNS, Provenance, assemble, check_table, content_hash
from tests.fakes.fake_yahoo import generated_bars

SESSIONS = sessions("XNYS", pd.Timestamp("2020-01-01"), pd.Timestamp("2020-12-31"))
FETCHED = "2021-01-04T22:00:00+00:00"
OHLC = ["open", "high", "low", "close"]


def bars(first: int = 0, last: int = 100) -> pd.DataFrame:
    return generated_bars(SESSIONS, seed=2).iloc[first:last].rename_axis("session")


def assembled(frame, stored=None, start=None, end=None, replaces_all=True):
    raw = RawBars("T", frame, "a test", replaces_all)
    return assemble(raw, stored, "XNYS", start, end, FETCHED)


def test_a_whole_history_becomes_a_checked_table_with_provenance():
    table, provenance = assembled(bars())
    pd.testing.assert_frame_equal(table, bars())
    assert tuple(table.columns) == COLUMNS
    assert provenance == Provenance(
        ticker="T",
        origin="a test",
        exchange="XNYS",
        fetched_at=FETCHED,
        first="2020-01-02",
        last="2020-05-26",
        sessions=100,
        repairs=(),
        sha256=content_hash(bars()),
    )


def test_repairs_are_in_the_provenance():
    _, provenance = assembled(bars().iloc[::-1])
    assert [repair.rule for repair in provenance.repairs] == ["out_of_order"]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, (0, 100)),
        (date(2020, 2, 1), None, (21, 100)),
        (None, date(2020, 2, 1), (0, 21)),
        (date(2020, 1, 3), date(2020, 1, 6), (1, 3)),
    ],
)
def test_the_period_is_cut_out_both_ends_included(start, end, expected):
    table, provenance = assembled(bars(), start=start, end=end)
    pd.testing.assert_frame_equal(table, bars(*expected))
    assert provenance.sessions == len(table)
    assert provenance.last == str(table.index[-1].date())


def test_a_period_without_data_says_what_there_is():
    with pytest.raises(DataError) as caught:
        assembled(bars(), start=date(2019, 1, 1), end=date(2019, 6, 30))
    assert "between 2019-01-01 and 2019-06-30" in caught.value.message
    assert "2020-01-02 to 2020-05-26" in caught.value.message
    assert "period:" in caught.value.hint


def test_rows_that_are_all_unusable_say_why():
    with pytest.raises(DataError, match="100 rows dropped: nulls"):
        assembled(bars() * np.nan)


def test_no_rows_at_all():
    with pytest.raises(DataError, match="a test contains no rows"):
        assembled(bars(0, 0))


def test_faults_before_the_period_do_no_harm():
    broken = bars()
    broken.iloc[10, :5] *= 20
    with pytest.raises(DataError, match="leaps"):
        assembled(broken)
    table, _ = assembled(broken, start=date(2020, 2, 3))
    pd.testing.assert_frame_equal(table, bars(21, 100))


def test_a_split_after_the_period_is_still_taken_out_of_it():
    raw = bars()
    raw.loc[raw.index[:80], OHLC] *= 2
    table, _ = assembled(raw, end=date(2020, 2, 28))
    np.testing.assert_allclose(table[OHLC], bars(0, len(table))[OHLC])


def test_time_stamps_of_the_raw_bars_do_not_matter_for_the_period():
    stamped = bars().set_axis((bars().index + pd.Timedelta(hours=14, minutes=30)).tz_localize("UTC"))
    table, _ = assembled(stamped, start=date(2020, 1, 3), end=date(2020, 1, 6))
    pd.testing.assert_frame_equal(table, bars(1, 3))


def test_new_sessions_are_appended_to_what_is_stored():
    table, provenance = assembled(bars(60, 100), stored=bars(0, 60), replaces_all=False)
    pd.testing.assert_frame_equal(table, bars())
    assert provenance.sessions == 100


def test_new_rows_win_over_stored_rows_of_the_same_sessions():
    stored = bars(0, 60)
    stored.iloc[-3:, -1] = 7.0
    table, _ = assembled(bars(57, 100), stored=stored, replaces_all=False)
    pd.testing.assert_frame_equal(table, bars())


def test_nothing_new_gives_back_what_is_stored():
    table, provenance = assembled(bars(0, 0), stored=bars(0, 60), replaces_all=False)
    pd.testing.assert_frame_equal(table, bars(0, 60))
    assert provenance.last == str(SESSIONS[59].date())


def test_a_whole_history_replaces_what_is_stored():
    table, _ = assembled(bars(), stored=bars() * 3, replaces_all=True)
    pd.testing.assert_frame_equal(table, bars())


def test_new_sessions_without_anything_stored_stand_alone():
    table, _ = assembled(bars(60, 100), replaces_all=False)
    pd.testing.assert_frame_equal(table, bars(60, 100))


def test_the_seam_between_stored_and_new_is_cleaned_too():
    stored = bars(0, 60)
    stored[OHLC] *= 2
    stored["adj_close"] *= 2
    with pytest.raises(DataError, match="2:1 split"):
        assembled(bars(60, 100), stored=stored, replaces_all=False)


def test_an_unknown_exchange_is_a_config_error():
    with pytest.raises(ConfigError):
        assemble(RawBars("T", bars(), "a test"), None, "NOPE", None, None, FETCHED)


def test_provenance_survives_json():
    _, provenance = assembled(bars().iloc[::-1])
    assert Provenance.from_dict(json.loads(json.dumps(provenance.to_dict()))) == provenance


@pytest.mark.parametrize("damage", [{"repairs": None}, {"unknown": 1}])
def test_damaged_provenance_is_a_data_error(damage):
    values = {**assembled(bars())[1].to_dict(), **damage}
    with pytest.raises(DataError, match="provenance"):
        Provenance.from_dict(values)


def test_provenance_of_appended_sessions_carries_the_earlier_repairs():
    _, now = assembled(bars())
    earlier = now.__class__(
        **{**now.__dict__, "repairs": (Repair("nulls", 2, ("a", "b")), Repair("missing_sessions", 2, ("a", "b")))}
    )
    later = now.__class__(
        **{**now.__dict__, "repairs": (Repair("nulls", 1, ("c",)), Repair("missing_sessions", 3, ("a", "b", "c")))}
    )
    assert later.carrying(earlier).repairs == (
        Repair("nulls", 3, ("a", "b", "c")),
        Repair("missing_sessions", 3, ("a", "b", "c")),
    )
    assert now.carrying(earlier).repairs == (Repair("nulls", 2, ("a", "b")),)
    assert later.carrying(now).repairs == later.repairs


def test_hash_is_stable_over_runs_and_machines():
    frame = pd.DataFrame({"a": [1.0, np.nan, -0.0], "b": ["x", "y", "zz"]}, index=pd.to_datetime(["2020-01-01"] * 3))
    assert content_hash(frame) == "1f832dc5e91db5d6bc67b5bceb6dc4fd738bdbfbbb616b2c425953f6cb328c8a"


def test_hash_ignores_time_unit_zero_sign_and_parquet(tmp_path):
    table = bars().assign(volume=0.0)
    other = table.assign(volume=-0.0)
    other.index = other.index.as_unit("us")
    assert content_hash(table) == content_hash(other)
    table.to_parquet(tmp_path / "t.parquet")
    assert content_hash(pd.read_parquet(tmp_path / "t.parquet")) == content_hash(table)


@given(row=st.integers(0, 99), column=st.integers(0, 5), scale=st.sampled_from([0.999, 1 + 1e-12, 2.0]))
def test_hash_sees_every_value(row, column, scale):
    changed = bars()
    changed.iloc[row, column] *= scale
    assert content_hash(changed) != content_hash(bars())


def test_hash_sees_index_names_order_and_types():
    table = bars()
    hashes = {
        content_hash(table),
        content_hash(table.iloc[1:]),
        content_hash(table.set_axis(table.index + pd.Timedelta(days=1))),
        content_hash(table.rename(columns={"open": "opening"})),
        content_hash(table[["high", "open", "low", "close", "adj_close", "volume"]]),
        content_hash(table.assign(volume=table["volume"].astype(str))),
    }
    assert len(hashes) == 6


def test_hash_tells_split_texts_apart():
    one, other = (pd.DataFrame({"a": texts}) for texts in (["ab", "c"], ["a", "bc"]))
    assert content_hash(one) != content_hash(other)


def test_a_good_table_passes_the_check():
    check_table(bars(), "T")


def break_index(table):
    return table.rename_axis("date")


def break_zone(table):
    return table.tz_localize("UTC").rename_axis("session")


def break_order(table):
    return table.iloc[::-1]


def break_repeat(table):
    return pd.concat([table, table.iloc[-1:]])


def break_time(table):
    return table.set_axis((table.index + pd.Timedelta(hours=1)).rename("session"))


def break_columns(table):
    return table.drop(columns="volume")


def break_extra(table):
    return table.assign(dividends=0.0)


def break_dtype(table):
    return table.astype({"volume": "int64"})


def break_null(table):
    return table.assign(low=table["low"].where(table.index != table.index[5]))


def break_zero(table):
    return table.assign(low=table["low"].mask(table.index == table.index[5], 0.0))


def break_volume(table):
    return table.assign(volume=-table["volume"])


@pytest.mark.parametrize(
    "damage",
    [break_index, break_zone, break_order, break_repeat, break_time, break_columns, break_extra, break_dtype,
     break_null, break_zero, break_volume],
)  # fmt: skip
def test_a_table_that_breaks_the_contract_is_refused(damage):
    with pytest.raises(DataError, match="T: not a price table"):
        check_table(damage(bars()), "T")


def test_the_check_names_at_most_five_days():
    with pytest.raises(DataError) as caught:
        check_table(break_volume(bars()), "T")
    assert "100 rows contain impossible values: 2020-01-02" in caught.value.message
    assert "and 95 more" in caught.value.message
