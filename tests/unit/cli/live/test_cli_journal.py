"""`mlops journal` on journals made by hand: lists, scores that agree with a hand computation, exports, mistakes."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops_cli.cli.live.journal_tables import MOST_FORECASTS
from mlops_cli.config.paths import Project
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.live.journal.records import Forecast
from mlops_cli.market.sessions import sessions
from tests.fakes.journal_forecasts import a_fleet, a_forecast, issue_all, settled
from tests.fakes.team_project import commands_on, team_project

DAYS = [date(2024, 1, day) for day in (3, 4, 5, 8, 9, 10)]
CLOSES = {
    "AAA": dict(zip(map(str, DAYS), [99.0, 100.0, 102.0, 101.0, 104.0, 103.0], strict=True)),
    "BBB": dict(zip(map(str, DAYS), [50.0, 50.0, 49.0, 49.5, 50.5, 50.0], strict=True)),
}
FORECAST = {"AAA": 1.0, "BBB": -0.5}
"""What each model adds to the last close, every night."""


def made(ticker: str, place: int, **changes: Any) -> Forecast:
    """The forecast of red's model of a ticker on DAYS[place], for the next day."""
    closes = list(CLOSES[ticker].values())
    values = {
        "model": f"red-{ticker.lower()}",
        "ticker": ticker,
        "session": DAYS[place],
        "target_session": DAYS[place + 1],
        "last_close": closes[place],
        "predicted_close": closes[place] + FORECAST[ticker],
        "raw_predicted_close": closes[place] + 2 * FORECAST[ticker],
        "previous_session": DAYS[place - 1],
        "previous_close": closes[place - 1],
    }
    return a_forecast(**{**values, **changes})


def rows_of(text: str) -> list[list[str]]:
    """The words of the rows of a table that are about models."""
    return [line.split() for line in text.splitlines() if re.search(r"^ *(\w+/)?(red|blue)-(aaa|bbb) ", line)]


def evening(place: int) -> datetime:
    return datetime(*DAYS[place].timetuple()[:3], 22, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return team_project(tmp_path)


@pytest.fixture
def mlops(project: Project) -> Callable[..., Any]:
    return commands_on(project)


@pytest.fixture
def four_nights(project: Project) -> Project:
    """Two models of red and blue's of AAA, on four nights; all but the last night are settled."""
    with open_journal(project.journal) as journal:
        for place in range(1, 5):
            blue = made("AAA", place, model="blue-aaa", team="blue", predicted_close=CLOSES["AAA"][str(DAYS[place])])
            issue_all(journal, [made("AAA", place), made("BBB", place), blue], evening(place))
        settled(journal, {ticker: dict(list(closes.items())[:5]) for ticker, closes in CLOSES.items()})
    return project


@pytest.mark.parametrize("words", [("list",), ("scores",), ("gap",), ("export", "x.csv")])
def test_without_a_journal_it_is_said_what_makes_one(mlops: Callable, words: tuple[str, ...]) -> None:
    done = mlops("journal", *words)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "there is no journal yet" in done.stderr
    assert "hint: the first pass that issues forecasts makes it: mlops live" in done.stderr


class TestList:
    @pytest.mark.usefixtures("four_nights")
    def test_the_newest_of_each_model_is_stale_once_its_target_has_closed(self, mlops: Callable) -> None:
        done = mlops("journal", "list")
        rows = {row[0]: row for row in rows_of(done.stdout)}
        assert set(rows) == {"red-aaa", "red-bbb", "blue-aaa"}
        assert rows["red-aaa"][1:5] == ["2024-01-09", "2024-01-10", "104.00", "105.00"]
        assert rows["red-aaa"][-5:] == ["0123456789ab", "2024-01-09", "22:00", "-", "STALE"]
        assert "101.92 to 108.16" in done.stdout, "its 80 % interval"
        behind = len(sessions("XNYS", date(2024, 1, 10), date.today()))
        assert done.stderr.startswith("3 of 3 forecasts are stale, ")
        assert done.stderr.endswith(" sessions behind: run: mlops live\n")
        assert abs(int(done.stderr.split()[6]) - behind) <= 1, "today's session may not have closed"

    @pytest.mark.usefixtures("four_nights")
    def test_those_of_a_session_with_what_followed(self, mlops: Callable) -> None:
        listed = json.loads(mlops("journal", "list", "--session", "2024-01-05", "--json").stdout)
        assert [(row["model"], row["actual_close"]) for row in listed] == [
            ("blue-aaa", 101.0), ("red-aaa", 101.0), ("red-bbb", 49.5),
        ]  # fmt: skip
        row = listed[1]
        assert (row["predicted_close"], row["issued_at"]) == (103.0, "2024-01-05 22:00:00+00:00")
        assert (row["stale"], row["stale_when_issued"]) == (False, False), "a newer one was issued since"
        assert row["data_age_sessions"] > 200
        assert row["intervals"][0] == {"level": 80.0, "lower": 99.96, "upper": 106.08, "constant": 0.02}

    @pytest.mark.usefixtures("four_nights")
    @pytest.mark.parametrize(
        ("options", "count"),
        [
            (["--model", "red-*"], 2),
            (["--model", "red-*", "--ticker", "aaa"], 1),
            (["--team", "blue", "--from", "2024-01-05"], 3),
            (["--branch", "main", "--to", "2024-01-04"], 3),
            (["--open"], 3),
            (["--open", "--to", "2024-01-05"], 0),
            (["--from", "2024-01-05", "--to", "2024-01-08", "--ticker", "BBB"], 2),
        ],
    )
    def test_filters(self, mlops: Callable, options: list[str], count: int) -> None:
        assert len(json.loads(mlops("journal", "list", *options, "--json").stdout)) == count

    def test_a_fresh_one_is_not_stale_and_a_late_one_is_named(self, project: Project, mlops: Callable) -> None:
        today, *_, later = sessions("XNYS", date.today(), date.today() + pd.Timedelta(days=10))
        fresh = made("AAA", 1, session=today.date(), target_session=later.date(), previous_session=None,
                     previous_close=None)  # fmt: skip
        with open_journal(project.journal) as journal:
            issue_all(journal, [fresh, made("BBB", 1)], evening(2))
            issue_all(journal, [made("BBB", 2)], evening(2))
        done = mlops("journal", "list", "--from", "2024-01-01")
        marks = {tuple(row[:2]): row[-2:] for row in rows_of(done.stdout)}
        assert marks["red-bbb", "2024-01-04"] == ["issued", "late"]
        assert marks["red-bbb", "2024-01-05"][-1] == "STALE"
        assert marks["red-aaa", str(today.date())][-1] == "-"

    @pytest.mark.usefixtures("four_nights")
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--model", "rde-aaa"], "--model rde-aaa: the journal has no forecast of it, did you mean red-aaa?"),
            (["--team", "green"], "--team green: the journal has no forecast of it (known: blue, red)"),
            (["--ticker", "ccc"], "--ticker CCC: the journal has no forecast of it"),
            (["--branch", "mine"], "--branch mine: the journal has no forecast of it"),
        ],
    )
    def test_unknown_names(self, mlops: Callable, options: list[str], message: str) -> None:
        done = mlops("journal", "list", *options)
        assert (done.exit_code, done.stdout) == (3, "")
        assert message in done.stderr

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--from", "2024-13-01"], "--from 2024-13-01: no day; write it as 2024-01-02"),
            (["--to", "yesterday"], "--to yesterday: no day"),
            (["--session", "4.1.2024"], "--session 4.1.2024: no day"),
            (["--from", "2024-02-01", "--to", "2024-01-01"], "--from 2024-02-01 is after --to 2024-01-01"),
            (["--session", "2024-01-04", "--from", "2024-01-04"], "either --session, or --from and --to"),
        ],
    )
    def test_bad_days(self, mlops: Callable, options: list[str], message: str) -> None:
        done = mlops("journal", "list", *options)
        assert done.exit_code == 2
        assert message in " ".join(done.stderr.replace("│", " ").split())


class TestScores:
    @pytest.mark.usefixtures("four_nights")
    def test_a_hand_computation(self, mlops: Callable) -> None:
        """AAA moves +2, -1, +3 and is forecast +1; BBB moves -1, +.5, +1 and is forecast -.5; blue is naive."""
        judged = json.loads(mlops("journal", "scores", "--json").stdout)
        models = {row["model"]: row for row in judged["summary"]["models"]}
        figures = {name: (row["n"], row["mae"], row["mae_naive"]) for name, row in models.items()}
        assert figures == {
            "red-aaa": (3, pytest.approx((1 + 2 + 2) / 3), pytest.approx(2.0)),
            "red-bbb": (3, pytest.approx((0.5 + 1 + 1.5) / 3), pytest.approx(2.5 / 3)),
            "blue-aaa": (3, pytest.approx(2.0), pytest.approx(2.0)),
        }
        assert judged["summary"]["pooled"]["mae_ratio"] == pytest.approx((5 / 6 + 3 / 2.5 + 1) / 3)
        assert judged["counts"] == {
            "issued": 12, "settled": 9, "waiting": 3, "stale": 0, "restated": 0, "judged": 9,
            "first_target": "2024-01-05", "last_target": "2024-01-09",
        }  # fmt: skip

    @pytest.mark.usefixtures("four_nights")
    def test_the_table_and_the_sentences_of_simulate(self, mlops: Callable) -> None:
        done = mlops("journal", "scores")
        assert "Live track record: 9 forecasts judged, for 2024-01-05 to 2024-01-09; 12 issued, 3 wait" in done.stdout
        assert "Verdict on the collection: NO SKILL" in done.stdout
        assert "Look-ahead alarm: silent." in done.stdout
        (row,) = (line.split() for line in done.stdout.splitlines() if line.strip().startswith("red-aaa"))
        assert row[1] == "1.667"

    @pytest.mark.usefixtures("four_nights")
    def test_a_row_per_team(self, mlops: Callable) -> None:
        text = mlops("journal", "scores", "--by", "team").stdout
        rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
        assert rows["blue"][1] == "2.000"
        assert rows["red"][1] == f"{(5 + 3) / 6:.3f}", "the mean over its forecasts"
        assert "red-aaa" not in rows

    @pytest.mark.usefixtures("four_nights")
    def test_of_a_team_and_some_days(self, mlops: Callable) -> None:
        judged = json.loads(mlops("journal", "scores", "--team", "red", "--to", "2024-01-05", "--json").stdout)
        assert [row["n"] for row in judged["summary"]["models"]] == [2, 2]

    def test_nothing_settled_yet(self, project: Project, mlops: Callable) -> None:
        with open_journal(project.journal) as journal:
            issue_all(journal, [made("AAA", 1)], evening(1))
        done = mlops("journal", "scores")
        assert (done.exit_code, done.stdout) == (4, "")
        assert "none of 1 forecasts of the journal can be judged yet" in done.stderr
        assert "hint: the next close that it waits for is of 2024-01-05" in done.stderr

    def test_late_and_restated_ones_are_counted(self, project: Project, mlops: Callable) -> None:
        with open_journal(project.journal) as journal:
            issue_all(journal, [made("AAA", 1), made("AAA", 2)], evening(2))
            settled(journal, {"AAA": dict(list(CLOSES["AAA"].items())[:4])})
            settled(journal, {"AAA": {**dict(list(CLOSES["AAA"].items())[:4]), str(DAYS[3]): 103.5}})
        text = mlops("journal", "scores").stdout
        assert "1 forecasts judged" in text
        assert "1 were issued after the close that they forecast: they are not judged." in text
        assert "The actual close of 1 was corrected or split later; the newest counts." in text


class TestExport:
    @pytest.mark.usefixtures("four_nights")
    @pytest.mark.parametrize(("name", "read"), [("out.parquet", pd.read_parquet), ("out.CSV", pd.read_csv)])
    def test_all_columns_of_what_is_selected(
        self, mlops: Callable, tmp_path: Path, name: str, read: Callable[[Path], pd.DataFrame]
    ) -> None:
        done = mlops("journal", "export", str(tmp_path / name), "--team", "red")
        assert (done.exit_code, done.stdout) == (0, f"{tmp_path / name}: 8 forecasts\n")
        frame = read(tmp_path / name)
        assert frame["actual_close"].count() == 6
        assert {"issued_at", "lower_80", "row_hash", "stale"} <= set(frame.columns)

    @pytest.mark.usefixtures("four_nights")
    def test_a_file_is_replaced_only_with_force(self, mlops: Callable, tmp_path: Path) -> None:
        target = tmp_path / "out.csv"
        target.write_text("mine")
        refused = mlops("journal", "export", str(target))
        assert (refused.exit_code, target.read_text()) == (3, "mine")
        assert "exists already" in refused.stderr
        assert mlops("journal", "export", str(target), "--force").exit_code == 0
        assert len(pd.read_csv(target)) == 12

    @pytest.mark.usefixtures("four_nights")
    def test_another_kind_of_file_and_a_folder(self, mlops: Callable, tmp_path: Path) -> None:
        assert mlops("journal", "export", str(tmp_path / "out.xlsx")).exit_code == 3
        assert list(tmp_path.glob("out*")) == []
        assert mlops("journal", "export", str(tmp_path)).exit_code == 3
        assert mlops("journal", "export", str(tmp_path), "--force").exit_code == 3


class TestOfAnotherKind:
    def test_a_damaged_file(self, project: Project, mlops: Callable) -> None:
        project.journal.parent.mkdir(exist_ok=True)
        project.journal.write_bytes(b"no database" * 500)
        done = mlops("journal", "list")
        assert done.exit_code == 4
        assert "the journal cannot be used" in done.stderr

    def test_a_database_of_something_else(self, project: Project, mlops: Callable) -> None:
        project.journal.parent.mkdir(exist_ok=True)
        with sqlite3.connect(project.journal) as other:
            other.execute("CREATE TABLE t(x)")
        other.close()
        done = mlops("journal", "scores")
        assert done.exit_code == 3
        assert "no journal of forecasts" in done.stderr


def test_models_of_one_name_are_listed_with_their_branches(project: Project, mlops: Callable) -> None:
    with open_journal(project.journal) as journal:
        issue_all(journal, [made("AAA", 1), made("AAA", 1, branch="other"), made("BBB", 1)], evening(1))
    text = mlops("journal", "list").stdout
    assert sorted(row[0] for row in rows_of(text)) == ["main/red-aaa", "other/red-aaa", "red-bbb"]


def test_of_many_models_the_first_are_shown_and_of_many_sessions_the_last(project: Project, mlops: Callable) -> None:
    with open_journal(project.journal) as journal:
        issue_all(journal, a_fleet(MOST_FORECASTS + 1, DAYS[2]))
        issue_all(journal, a_fleet(1, DAYS[4]))
    newest, every = mlops("journal", "list"), mlops("journal", "list", "--from", str(DAYS[0]))
    assert newest.stderr.splitlines()[0] == "1 more: choose some with --model or --team, or see all with --json"
    assert f"red-t{MOST_FORECASTS:04d}" not in newest.stdout
    assert "red-t0000" in newest.stdout
    assert every.stderr.startswith("2 more: ")
    assert f"red-t{MOST_FORECASTS:04d}" in every.stdout
