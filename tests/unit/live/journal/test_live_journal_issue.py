"""Issuing: once and for all, whole batches, and nothing rewrites what was issued."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.live.journal.journal import Journal, Selection
from mlops_cli.live.journal.opening import open_journal, read_journal
from mlops_cli.live.journal.records import Actual, IssuedForecast, Key
from mlops_cli.system.sqlite_files import IN_MEMORY, SqliteFile
from tests.fakes.journal_forecasts import EVENING, SESSION, a_fleet, a_forecast, issue_all

LATER = EVENING + timedelta(hours=3)


@pytest.fixture
def journal() -> Iterator[Journal]:
    with open_journal(IN_MEMORY) as opened:
        yield opened


class TestIssue:
    def test_what_is_issued_is_read_back_to_the_last_bit(self, journal: Journal) -> None:
        forecast = a_forecast(last_close=0.1 + 0.2, announced_dividend=1e-17, previous_close=1 / 3)
        issue_all(journal, [forecast])
        assert list(journal.forecasts()) == [IssuedForecast(forecast, EVENING, None)]

    def test_without_intervals_and_a_session_before(self, journal: Journal) -> None:
        forecast = a_forecast(intervals=(), previous_session=None, previous_close=None)
        issue_all(journal, [forecast])
        assert [issued.forecast for issued in journal.forecasts()] == [forecast]

    def test_the_same_again_changes_nothing(self, journal: Journal) -> None:
        batch = a_fleet(5)
        issue_all(journal, batch[:3])
        report = journal.issue(batch, LATER)
        assert (report.issued, report.unchanged, report.refused) == (2, 3, ())
        times = [issued.issued_at for issued in journal.forecasts()]
        assert times == [EVENING] * 3 + [LATER] * 2

    def test_other_content_is_refused_and_named(self, journal: Journal) -> None:
        issue_all(journal, [a_forecast()])
        report = journal.issue([a_forecast(version="ba9876543210"), a_forecast(model="blue-aapl", team="blue")], LATER)
        assert (report.issued, report.unchanged) == (1, 0)
        (refusal,) = report.refused
        assert refusal.key == Key(SESSION, "main", "red-aapl")
        assert refusal.reason == "it was issued with other content: version was 0123456789ab, is ba9876543210"
        assert {issued.forecast.version for issued in journal.forecasts()} == {"0123456789ab"}

    @pytest.mark.parametrize(
        "changes",
        [
            {"predicted_close": 101.0 + 1e-13},
            {"row_hash": "b" * 64},
            {"target_session": date(2024, 1, 8)},
            {"intervals": ()},
            {"previous_close": 98.0},
            {"shrinkage": 0.6},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_any_other_value_is_other_content(self, journal: Journal, changes: dict) -> None:
        issue_all(journal, [a_forecast()])
        (refusal,) = journal.issue([a_forecast(**changes)], LATER).refused
        assert next(iter(changes)) in refusal.reason

    def test_many_differences_are_counted(self, journal: Journal) -> None:
        issue_all(journal, [a_forecast()])
        (refusal,) = journal.issue([a_forecast(last_close=50.0)], LATER).refused
        assert "last_close was 100.0, is 50.0" in refusal.reason
        assert refusal.reason.endswith("more")

    def test_a_forecast_twice_in_a_batch(self, journal: Journal) -> None:
        report = journal.issue([a_forecast(), a_forecast(), a_forecast(row_hash="b" * 64)], EVENING)
        assert (report.issued, report.unchanged, len(report.refused)) == (1, 1, 1)

    def test_one_that_means_nothing_is_refused_and_the_others_are_issued(self, journal: Journal) -> None:
        report = journal.issue([a_forecast(predicted_close=-1.0, log_return=0.0), *a_fleet(2)], EVENING)
        assert (report.issued, [str(refusal.key) for refusal in report.refused]) == (2, ["red-aapl:2024-01-04"])
        assert report.refused[0].reason == "not finite and > 0: predicted_close"

    def test_models_of_one_name_in_two_branches(self, journal: Journal) -> None:
        issue_all(journal, [a_forecast(), a_forecast(branch="other", last_close=50.0)])
        assert journal.issued([SESSION]) == {Key(SESSION, branch, "red-aapl") for branch in ("main", "other")}

    def test_which_are_issued(self, journal: Journal) -> None:
        issue_all(journal, [*a_fleet(2), *a_fleet(1, date(2024, 1, 8))])
        assert {key.session for key in journal.issued([date(2024, 1, 8), date(2024, 1, 9)])} == {date(2024, 1, 8)}
        assert journal.issued([]) == set()

    def test_times_are_kept_in_utc(self, journal: Journal) -> None:
        local = datetime(2024, 1, 4, 17, 30, tzinfo=timezone(timedelta(hours=-5)))
        issue_all(journal, [a_forecast()], local)
        (issued,) = journal.forecasts()
        assert issued.issued_at == local
        assert issued.issued_at.tzinfo == UTC

    def test_a_time_without_zone_is_a_mistake_of_the_caller(self, journal: Journal) -> None:
        with pytest.raises(ValueError, match="time zone"):
            journal.issue([a_forecast()], datetime(2024, 1, 4, 22))
        assert list(journal.forecasts()) == []

    @given(batches=st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=6), max_size=6))
    @settings(max_examples=60, deadline=None)
    def test_the_first_content_of_a_forecast_is_its_content_for_ever(self, batches: list) -> None:
        expected: dict[str, float] = {}
        with open_journal(IN_MEMORY) as journal:
            for batch in batches:
                forecasts = [a_forecast(model=f"m{model}", last_close=100.0 + content) for model, content in batch]
                report = journal.issue(forecasts, EVENING)
                for forecast in forecasts:
                    expected.setdefault(forecast.model, forecast.last_close)
                assert report.issued + report.unchanged + len(report.refused) == len(batch)
            contents = {issued.forecast.model: issued.forecast.last_close for issued in journal.forecasts()}
        assert contents == expected


class TestReading:
    @pytest.fixture
    def three_days(self, journal: Journal) -> Journal:
        for day in (4, 8, 9):
            issue_all(journal, a_fleet(3, date(2024, 1, day)))
        issue_all(journal, [a_forecast(branch="other", team="blue", model="blue-aapl")])
        return journal

    @pytest.mark.parametrize(
        ("selection", "count"),
        [
            (Selection(), 10),
            (Selection(first=date(2024, 1, 8)), 6),
            (Selection(last=date(2024, 1, 8)), 7),
            (Selection(first=date(2024, 1, 8), last=date(2024, 1, 8)), 3),
            (Selection(branch="other"), 1),
            (Selection(models=["red-t0000", "red-t0002", "unknown"]), 6),
            (Selection(models=[]), 0),
            (Selection(tickers=["T0001", "AAPL"]), 4),
            (Selection(teams=["blue"]), 1),
            (Selection(teams=["red"], tickers=["AAPL"]), 0),
        ],
    )
    def test_a_selection(self, three_days: Journal, selection: Selection, count: int) -> None:
        forecasts = list(three_days.forecasts(selection))
        assert len(forecasts) == count
        assert forecasts == sorted(forecasts, key=lambda issued: issued.forecast.key)

    def test_the_newest_of_each_model(self, three_days: Journal) -> None:
        newest = [issued.forecast.key for issued in three_days.newest()]
        fleet = [Key(date(2024, 1, 9), "main", f"red-t000{number}") for number in range(3)]
        assert newest == [*fleet, Key(SESSION, "other", "blue-aapl")]
        (earlier,) = three_days.newest(Selection(last=date(2024, 1, 8), models=["red-t0001"]))
        assert earlier.forecast.key == Key(date(2024, 1, 8), "main", "red-t0001")
        assert three_days.newest(Selection(tickers=["NONE"])) == []


class TestActuals:
    KEY = Key(SESSION, "main", "red-aapl")

    def test_the_newest_counts_and_all_are_kept(self, journal: Journal) -> None:
        issue_all(journal, [a_forecast()])
        first, second = Actual(self.KEY, 101.0, 101.0, 1.0), Actual(self.KEY, 102.0, 25.5, 0.25)
        assert journal.add_actuals([first], EVENING) == 1
        assert journal.add_actuals([second], LATER) == 1
        (issued,) = journal.forecasts()
        assert issued.settled is not None
        assert issued.settled == (second, LATER, 1)
        assert journal.history(self.KEY) == [(EVENING, first), (LATER, second)]

    def test_an_equal_one_is_not_added_and_an_earlier_one_may_return(self, journal: Journal) -> None:
        issue_all(journal, [a_forecast()])
        first, second = Actual(self.KEY, 101.0, 101.0, 1.0), Actual(self.KEY, 102.0, 102.0, 1.0)
        assert [journal.add_actuals([actual], LATER) for actual in (first, first, second, first)] == [1, 0, 1, 1]
        assert [actual for _, actual in journal.history(self.KEY)] == [first, second, first]

    def test_of_a_forecast_that_was_never_issued(self, tmp_path: Path) -> None:
        with pytest.raises(Exception, match="FOREIGN KEY"), open_journal(tmp_path / "j.db") as journal:
            journal.add_actuals([Actual(self.KEY, 101.0, 101.0, 1.0)], EVENING)

    def test_without_one(self, journal: Journal) -> None:
        assert journal.history(self.KEY) == []
        assert journal.add_actuals([], EVENING) == 0


class TestNothingIsRewritten:
    @pytest.fixture
    def shell(self, tmp_path: Path) -> Iterator[sqlite3.Connection]:
        """A sqlite3 shell on a journal with a forecast and an actual."""
        with open_journal(tmp_path / "journal.db") as journal:
            issue_all(journal, [a_forecast()])
            journal.add_actuals([Actual(a_forecast().key, 101.0, 101.0, 1.0)], EVENING)
        with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as connection:
            yield connection

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE forecasts SET predicted_close = 1",
            "UPDATE forecasts SET issued_at = '2000-01-01'",
            "UPDATE OR REPLACE forecasts SET model = 'x'",
            "DELETE FROM forecasts",
            "INSERT OR REPLACE INTO forecasts SELECT * FROM forecasts",
            "REPLACE INTO forecasts SELECT * FROM forecasts",
            "INSERT INTO forecasts SELECT * FROM forecasts WHERE 1 ON CONFLICT DO UPDATE SET predicted_close = 1",
            "UPDATE actuals SET actual_close = 1",
            "DELETE FROM actuals",
            "REPLACE INTO actuals SELECT * FROM actuals",
        ],
    )
    def test_not_even_by_hand(self, shell: sqlite3.Connection, statement: str) -> None:
        def content() -> list:
            return [shell.execute(f"SELECT * FROM {table}").fetchall() for table in ("forecasts", "actuals")]

        before = content()
        assert all(before)
        with pytest.raises(sqlite3.IntegrityError, match="are never changed"):
            shell.execute(statement)
        assert content() == before

    def test_a_reader_cannot_write(self, tmp_path: Path, shell: sqlite3.Connection) -> None:
        with pytest.raises(Exception, match="readonly"), read_journal(tmp_path / "journal.db") as journal:
            journal.issue([a_forecast(model="x")], EVENING)


def test_a_night_of_a_fleet_is_one_transaction() -> None:
    """One commit is one wait for the disk: 1,800 forecasts take a tenth of a second (see docs/journal.md)."""
    batch = a_fleet(1800)
    with SqliteFile(IN_MEMORY, "the journal", "").writing() as connection:
        journal = Journal(connection)
        journal.create()
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        issue_all(journal, batch)
        assert [text for text in statements if text.startswith(("BEGIN", "COMMIT"))] == ["BEGIN IMMEDIATE", "COMMIT"]
        assert journal.issue(batch, LATER).unchanged == 1800
