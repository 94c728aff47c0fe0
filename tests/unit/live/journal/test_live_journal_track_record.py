"""The live track record: scores by hand, the same figures as a replay, splits, and what is not judged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import DataError
from mlops_cli.evaluation.frame import check_forecasts, forecast_columns
from mlops_cli.evaluation.summary import summarise
from mlops_cli.live.journal.journal import Journal, Selection
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.live.journal.records import Actual, Forecast, PriceInterval
from mlops_cli.live.journal.track_record import counts, scores, track_record
from mlops_cli.system.sqlite_files import IN_MEMORY
from tests.fakes.forecast_frames import forecast_frame, market_returns, noise, with_base
from tests.fakes.journal_forecasts import EVENING, a_forecast, frame_in, issue_all, settled
from tests.fakes.price_tables import xnys_sessions

DAYS = [day.date() for day in xnys_sessions()[xnys_sessions().searchsorted(pd.Timestamp("2024-01-03")) :][:6]]
CLOSES = {f"{day}": close for day, close in zip(DAYS, [99.0, 100.0, 102.0, 101.0, 104.0, 103.0], strict=True)}
"""2024-01-03 to 2024-01-10."""


@pytest.fixture
def journal() -> Iterator[Journal]:
    with open_journal(IN_MEMORY) as opened:
        yield opened


def on(place: int, **changes: Any) -> Forecast:
    """A forecast made on DAYS[place] for the next day: 1 up."""
    closes = list(CLOSES.values())
    last = closes[place]
    values = {
        "session": DAYS[place],
        "target_session": DAYS[place + 1],
        "last_close": last,
        "predicted_close": last + 1.0,
        "raw_predicted_close": last + 2.0,
        "previous_session": DAYS[place - 1],
        "previous_close": closes[place - 1],
    }
    return a_forecast(**{**values, **changes})


def evening(place: int) -> datetime:
    return datetime(*DAYS[place].timetuple()[:3], 22, tzinfo=UTC)


def issued_nightly(journal: Journal, **changes: Any) -> None:
    for place in range(1, 5):
        issue_all(journal, [on(place, **changes)], evening(place))


class TestByHand:
    def test_mae_and_direction_beside_naive_and_base(self, journal: Journal) -> None:
        """Moves of +2, -1, +3, -1; forecast +1 each day: errors 1, 2, 2, 2 against the naive 2, 1, 3, 1."""
        issued_nightly(journal)
        settled(journal, {"AAPL": CLOSES})
        result = scores(frame_in(journal))
        (model,) = result["summary"]["models"]
        assert (model["n"], model["mae"], model["mae_naive"]) == (4, pytest.approx(7 / 4), pytest.approx(7 / 4))
        assert model["mae_raw"] == pytest.approx((0 + 3 + 1 + 3) / 4)
        assert model["mae_base"] is None, "its base is the naive forecast"
        assert model["direction_calls"] == 4
        assert model["direction_accuracy"] is None, "four sessions say nothing about direction"
        assert model["shrinkage"] == 0.5
        assert result["counts"] == {
            "issued": 4, "settled": 4, "waiting": 0, "stale": 0, "restated": 0, "judged": 4,
            "first_target": str(DAYS[2]), "last_target": str(DAYS[5]),
        }  # fmt: skip

    def test_the_base_of_dividends(self, journal: Journal) -> None:
        issue_all(journal, [on(2, base_predicted_close=101.2, announced_dividend=0.8)], evening(2))
        settled(journal, {"AAPL": CLOSES})
        result = scores(frame_in(journal))["summary"]
        assert result["models"][0]["mae_base"] == pytest.approx(0.2)
        assert result["models"][0]["base_ratio"] == pytest.approx(0.2)

    def test_the_frame_has_the_columns_of_a_replay(self, journal: Journal) -> None:
        issued_nightly(journal)
        settled(journal, {"AAPL": CLOSES})
        record = track_record(frame_in(journal))
        assert list(record.columns) == forecast_columns((80.0, 95.0))
        pd.testing.assert_frame_equal(check_forecasts(record), record)
        assert record["actual_close"].tolist() == [102.0, 101.0, 104.0, 103.0]
        assert record["lower_80"].tolist() == pytest.approx(record["last_close"] * 0.98)
        assert record["constant_80"].tolist() == [0.02] * 4
        assert record["constant_95"].isna().all()


class TestWhatIsNotJudged:
    def test_forecasts_that_wait_for_their_close(self, journal: Journal) -> None:
        issued_nightly(journal)
        settled(journal, {"AAPL": dict(list(CLOSES.items())[:4])})
        frame = frame_in(journal)
        assert track_record(frame)["session"].dt.date.tolist() == DAYS[1:3]
        assert counts(frame) == {"issued": 4, "settled": 2, "waiting": 2, "stale": 0, "restated": 0}

    def test_forecasts_that_were_stale_when_issued(self, journal: Journal) -> None:
        """Issued when the close that they forecast was known already."""
        issue_all(journal, [on(1)], evening(1))
        issue_all(journal, [on(2), on(3)], evening(3))
        settled(journal, {"AAPL": CLOSES})
        frame = frame_in(journal)
        assert track_record(frame)["session"].dt.date.tolist() == [DAYS[1], DAYS[3]]
        assert counts(frame)["stale"] == 1

    def test_nothing_to_judge(self, journal: Journal) -> None:
        with pytest.raises(DataError, match="holds no forecast of this selection"):
            scores(frame_in(journal))
        issue_all(journal, [on(1)], evening(1))
        with pytest.raises(DataError, match="none of 1 forecasts") as refusal:
            scores(frame_in(journal))
        assert refusal.value.hint == f"the next close that it waits for is of {DAYS[2]}"
        settled(journal, {"AAPL": CLOSES})
        assert scores(frame_in(journal))["counts"]["settled"] == 1

    def test_only_stale_ones(self, journal: Journal) -> None:
        issue_all(journal, [on(1)], evening(3))
        settled(journal, {"AAPL": CLOSES})
        with pytest.raises(DataError) as refusal:
            scores(frame_in(journal))
        assert refusal.value.hint == "all were stale"


class TestUnits:
    def test_a_split_gives_no_forecast_another_weight(self, journal: Journal) -> None:
        """2:1 between the second and the third night: the record is in the units of the new price table."""
        for place in (1, 2):
            issue_all(journal, [on(place)], evening(place))
        settled(journal, {"AAPL": dict(list(CLOSES.items())[:4])})
        halved = {day: close / 2 for day, close in CLOSES.items()}
        for place in (3, 4):
            last = halved[str(DAYS[place])]
            prices = {"last_close": last, "predicted_close": last + 0.5, "raw_predicted_close": last + 1.0}
            issue_all(journal, [on(place, **prices, previous_close=halved[str(DAYS[place - 1])])], evening(place))
        settled(journal, {"AAPL": halved})
        frame = frame_in(journal)
        record = track_record(frame)
        assert frame["actual_close"].tolist() == [102.0, 101.0, 52.0, 51.5]
        assert record["actual_close"].tolist() == pytest.approx([51.0, 50.5, 52.0, 51.5])
        assert record["last_close"].tolist() == pytest.approx([50.0, 51.0, 50.5, 52.0])
        assert record["upper_95"].tolist() == pytest.approx(record["last_close"] * 1.06)
        unsplit = scores(frame)["summary"]["models"][0]
        assert unsplit["mae"] == pytest.approx(7 / 8)
        assert unsplit["mae_ratio"] == pytest.approx(1.0)
        assert counts(frame)["restated"] == 2

    def test_a_corrected_close_replaces_the_first(self, journal: Journal) -> None:
        issued_nightly(journal)
        settled(journal, {"AAPL": CLOSES})
        settled(journal, {"AAPL": {**CLOSES, str(DAYS[5]): 109.0}})
        frame = frame_in(journal)
        assert track_record(frame)["actual_close"].tolist()[-1] == 109.0
        assert counts(frame)["restated"] == 1


class TestModels:
    def test_of_one_name_in_two_branches(self, journal: Journal) -> None:
        issued_nightly(journal)
        issued_nightly(journal, branch="other", predicted_close=100.5, shrinkage=0.1)
        issued_nightly(journal, model="blue-aapl", team="blue")
        settled(journal, {"AAPL": CLOSES})
        models = {row["model"]: row for row in scores(frame_in(journal))["summary"]["models"]}
        assert set(models) == {"blue-aapl", "main/red-aapl", "other/red-aapl"}
        assert models["other/red-aapl"]["shrinkage"] == 0.1

    def test_whose_team_or_ticker_was_renamed(self, journal: Journal) -> None:
        for place, names in enumerate([("red", "FB"), ("red", "META"), ("crimson", "META")], start=1):
            team, ticker = names
            issue_all(journal, [on(place, model="social", team=team, ticker=ticker)], evening(place))
        settled(journal, {"FB": CLOSES, "META": CLOSES})
        record = check_forecasts(track_record(frame_in(journal)))
        assert record[["team", "ticker"]].drop_duplicates().to_numpy().tolist() == [["crimson", "META"]]
        assert len(record) == 3

    def test_with_different_levels(self, journal: Journal) -> None:
        issued_nightly(journal)
        issued_nightly(journal, model="old", intervals=())
        issued_nightly(journal, model="wide", intervals=(PriceInterval(99.0, 50.0, 150.0, None),))
        settled(journal, {"AAPL": CLOSES})
        record = check_forecasts(track_record(frame_in(journal)))
        bounded = record[["lower_80", "lower_95", "lower_99"]].notna().groupby(record["model"]).all()
        assert bounded.loc["old"].tolist() == [False] * 3
        assert bounded.loc["wide"].tolist() == [False, False, True]
        assert bounded.loc["red-aapl"].tolist() == [True, True, False]

    def test_the_newest_shrinkage_counts(self, journal: Journal) -> None:
        for place, shrinkage in ((1, 0.5), (2, 0.2), (3, 0.3)):
            issue_all(journal, [on(place, shrinkage=shrinkage, version=f"v{place}")], evening(place))
        settled(journal, {"AAPL": CLOSES})
        assert scores(frame_in(journal))["summary"]["models"][0]["shrinkage"] == 0.3


def issued_from(row: dict[str, Any]) -> Forecast:
    """The forecast of a row of a replay."""
    days = {name: row[name].date() for name in ("session", "target_session")}
    values = {name: value for name, value in row.items() if name != "actual_close"}
    return a_forecast(**{**values, **days}, intervals=(), previous_session=None, previous_close=None)


def test_a_journal_of_a_replay_scores_as_the_replay_does(journal: Journal) -> None:
    """The figures, tests and decomposition of `summarise` on the same forecasts, to the bit."""
    frame = forecast_frame(market_returns(6, 60, 3), noise(6, 60, 3), shrinkage=0.5)
    days = xnys_sessions()[xnys_sessions().searchsorted(pd.Timestamp("2023-01-03")) :][:61]
    ordinal = frame.groupby("model").cumcount().to_numpy()
    frame = frame.assign(session=days[ordinal], target_session=days[ordinal + 1])
    frame = with_base(frame, np.where(ordinal % 20 == 7, 0.01, 0.0), drift=0.0002)
    for night, rows in frame.groupby("session"):
        forecasts = [issued_from(row) for row in rows.to_dict("records")]
        issue_all(journal, forecasts, night.to_pydatetime().replace(hour=22, tzinfo=UTC))
        closes = zip(forecasts, rows["actual_close"], strict=True)
        journal.add_actuals([Actual(forecast.key, close, close, 1.0) for forecast, close in closes], EVENING)
    summary = scores(frame_in(journal))["summary"]
    expected = summarise(frame, dict.fromkeys(frame["model"].unique(), 0.5))
    assert summary == expected
    assert summary["decomposition"] is not None
    red = scores(frame_in(journal, Selection(teams=["red"])))["summary"]
    assert [team["team"] for team in red["teams"]] == ["red"]
