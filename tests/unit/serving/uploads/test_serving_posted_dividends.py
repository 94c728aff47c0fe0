"""Dividends for a caller's bars: the caller's own before the project's, and the source is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.config.schemas.project import FeatureSpec
from mlops_cli.errors import DataError
from mlops_cli.market.sessions import sessions
from mlops_cli.prices.actions.dividends import Sighting, announced_amounts, paid_amounts, usable_shares
from mlops_cli.prices.actions.sightings_file import dividends_file, write_sightings
from mlops_cli.serving.contract.messages import BadInputError
from mlops_cli.serving.uploads.batches import batch_of_bars
from mlops_cli.serving.uploads.posted_dividends import PAID, PostedDividends, dividends_for
from mlops_cli.serving.uploads.posted_rows import FeatureFacts

DAYS = sessions("XNYS", pd.Timestamp("2024-01-02"), pd.Timestamp("2024-03-28"))
NEXT = DAYS[30]
INPUTS = ("return_1", "return_5", "announced_dividend", "width_80", "width_95")
FACTS = FeatureFacts(FeatureSpec(returns=(1, 5)), "log_return", "XNYS", "ACME", INPUTS, (80.0, 95.0))


def bars(count: int = 30) -> pd.DataFrame:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, count)))
    frame = pd.DataFrame({"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1000.0})
    return frame.set_index(pd.DatetimeIndex(DAYS[:count], name="session"))


def project(folder: Path, *amounts: tuple[pd.Timestamp, float]) -> FeatureFacts:
    """Facts of a model whose project has seen these dividends."""
    seen = date(2024, 1, 31)
    sightings = [Sighting(day.date(), amount, date(2023, 12, 1), 100.0, "csv", seen) for day, amount in amounts]
    write_sightings(dividends_file(folder, "ACME"), sightings)
    return replace(FACTS, prices=folder)


def next_amount(posted: PostedDividends) -> float:
    assert posted.sightings is not None
    days = pd.DatetimeIndex([DAYS[29]]), pd.DatetimeIndex([NEXT])
    return float(announced_amounts(posted.sightings, *days)[0])


def test_the_projects_dividend_is_used_where_the_caller_gives_none(tmp_path: Path) -> None:
    posted = dividends_for(bars(), None, project(tmp_path, (NEXT, 0.7)), NEXT)
    assert (posted.source, next_amount(posted)) == ("project", 0.7)


@pytest.mark.parametrize("announced", [0.5, 0.0])
def test_the_callers_dividend_replaces_the_projects(tmp_path: Path, announced: float) -> None:
    posted = dividends_for(bars(), announced, project(tmp_path, (NEXT, 0.7)), NEXT)
    assert (posted.source, next_amount(posted)) == ("request", announced)


def test_a_dividend_that_was_seen_after_the_last_bar_is_not_used(tmp_path: Path) -> None:
    posted = dividends_for(bars(15), None, project(tmp_path, (DAYS[15], 0.7)), DAYS[15])
    assert (posted.source, next_amount(posted)) == (None, 0.0)


def test_a_project_without_a_list_of_dividends_says_so(tmp_path: Path) -> None:
    posted = dividends_for(bars(), None, replace(FACTS, prices=tmp_path), NEXT)
    assert (posted.source, next_amount(posted)) == ("unknown", 0.0)


def test_a_model_that_subtracts_none_says_so_only_if_one_is_given() -> None:
    assert dividends_for(bars(), 0.5, FACTS, NEXT) == PostedDividends(None, "not subtracted")
    assert dividends_for(bars(), None, FACTS, NEXT) == PostedDividends(None, None)


def test_dividends_of_the_bars_replace_those_of_the_project_for_their_sessions(tmp_path: Path) -> None:
    facts = project(tmp_path, (DAYS[5], 0.7), (DAYS[8], 0.7), (NEXT, 0.9))
    paid = bars().assign(**{PAID: np.nan})
    paid.loc[DAYS[5], PAID] = 0.6
    posted = dividends_for(paid, None, facts, NEXT)
    assert posted.sightings is not None
    amounts = announced_amounts(posted.sightings, DAYS[:29], DAYS[1:30])
    assert {place: amount for place, amount in enumerate(amounts) if amount} == {4: 0.6}
    assert (posted.source, next_amount(posted)) == ("project", 0.9)


@pytest.mark.parametrize("announced", [0.01, 11.0, 100.0])
def test_what_is_no_usual_dividend_is_refused(tmp_path: Path, announced: float) -> None:
    with pytest.raises(BadInputError, match="announced_dividend"):
        dividends_for(bars(), announced, project(tmp_path), NEXT)


def test_a_special_dividend_of_the_past_counts_as_paid_and_is_never_subtracted(tmp_path: Path) -> None:
    frame = bars().assign(**{PAID: 0.0})
    frame.loc[DAYS[7], PAID] = 30.0
    sightings = dividends_for(frame, None, project(tmp_path), NEXT).sightings
    assert sightings is not None
    assert paid_amounts(sightings, DAYS[7:8]).tolist() == [30.0]
    assert usable_shares(announced_amounts(sightings, DAYS[6:7], DAYS[7:8]), np.array([100.0])).tolist() == [0.0]


@pytest.mark.parametrize("paid", [-1.0, 150.0])
def test_paid_dividends_that_cannot_be_are_refused(tmp_path: Path, paid: float) -> None:
    frame = bars().assign(**{PAID: 0.0})
    frame.loc[DAYS[7], PAID] = paid
    with pytest.raises(DataError, match="dividends below 0, or as large as the close before: 20"):
        dividends_for(frame, None, project(tmp_path), NEXT)


def test_bars_become_rows_with_the_dividend_and_the_widths(tmp_path: Path) -> None:
    posted = batch_of_bars(bars(), project(tmp_path), 0.5)
    assert posted.dividends[-1] == pytest.approx(0.5)
    assert posted.dividends[:-1].tolist() == [0.0] * (len(posted.rows) - 1)
    np.testing.assert_allclose(posted.rows[-1, 2], 0.5 / posted.closes[-1], rtol=1e-6)
    assert posted.last().dividends.tolist() == [posted.dividends[-1]]
    assert 0 < posted.widths[-1, 0] < 0.1, "9 errors are enough for an interval of 80 %"
    assert posted.widths[-1, 1] == 10, "but not for one of 95 %"


def test_the_newest_quantiles_of_a_fleet_give_the_widths_of_later_bars(tmp_path: Path) -> None:
    note = tmp_path / "red-acme.json"
    note.write_text(f'{{"quantiles": {{"session": "{DAYS[25]:%F}", "width_80": 2.0, "width_95": null}}}}')
    facts = replace(project(tmp_path), note=note)
    posted = batch_of_bars(bars(), facts)
    own = batch_of_bars(bars(), replace(facts, note=None))
    assert (posted.widths[:, 1] == 10).all()
    assert (posted.widths[:-5, 0] == 10).all(), "no quantile from the future"
    assert (posted.widths[-5:, 0] < 1).all()
    assert posted.widths[-1, 0] != own.widths[-1, 0]
