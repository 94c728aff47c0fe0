"""What the rules leave behind for the provenance."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.prices.cleaning.repair import MOST_EXAMPLES, Cleaned, Repair, noted


def test_nothing_noted_is_no_repair():
    assert noted("nulls", []) == ()
    assert noted("nulls", pd.DatetimeIndex([])) == ()


def test_days_are_written_without_the_time():
    (repair,) = noted("nulls", [pd.Timestamp("2024-03-12 16:00"), pd.Timestamp("2024-03-13")])
    assert repair == Repair("nulls", 2, ("2024-03-12", "2024-03-13"))


def test_texts_are_kept_as_they_are():
    assert noted("unadjusted_split", ["2005-02-28 2:1"]) == (Repair("unadjusted_split", 1, ("2005-02-28 2:1",)),)


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g"]), min_size=1, max_size=40))
def test_all_are_counted_and_a_few_different_ones_shown(words):
    (repair,) = noted("rule", words)
    assert repair.count == len(words)
    assert len(repair.examples) == min(MOST_EXAMPLES, len(set(words)))
    assert list(repair.examples) == list(dict.fromkeys(words))[:MOST_EXAMPLES]


def test_a_rule_that_changes_nothing_has_no_repairs():
    bars = pd.DataFrame({"close": [1.0]})
    assert Cleaned(bars).repairs == ()
    assert Cleaned(bars).bars is bars
