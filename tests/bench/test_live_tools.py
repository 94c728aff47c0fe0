"""The growing files and the figures of `make bench-live`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.bench.bench_live import Night, _check, _rows
from tests.bench.bench_processes import BenchError, Measured
from tests.bench.live_project import TEAMS, LiveProject

DAYS = (date(2026, 11, 25), date(2026, 11, 27), date(2026, 11, 30))


def project(root: Path, tickers: int = 1) -> LiveProject:
    names = tuple(f"T{number}" for number in range(tickers))
    return LiveProject(root, names, DAYS, {name: ("27th\n", "30th\n") for name in names})


def night(wall: float, megabytes: float, **done: int) -> Night:
    steps = {step: {"done": count} for step, count in done.items()}
    measured = Measured(wall, wall, int(megabytes * 1e6), int(megabytes * 1e6), "")
    return Night(measured, dict.fromkeys(steps, wall / 4), steps)


def nights(**changes: Night) -> dict[str, Night]:
    done = dict.fromkeys(("ingest", "settle", "issue"), 1800)
    return {
        "first": night(80, 900, issue=1800),
        "new session": night(59, 1999, **done, retrain=0),
        "again": night(20, 900, ingest=0, settle=0, issue=0, retrain=0),
        "retrained": night(301, 3999, **done, retrain=1800),
        **changes,
    }


def test_files_grow_by_one_session_and_only_once(tmp_path: Path) -> None:
    incoming = tmp_path / "data" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "T0.csv").write_text("Date\n25th\n")
    made = project(tmp_path)
    contents = []
    for number in (0, 1, 1, 2):
        made.show(number)
        contents.append((incoming / "T0.csv").read_text().split()[1:])
    assert contents == [["25th"], ["25th", "27th"], ["25th", "27th"], ["25th", "27th", "30th"]]


def test_an_evening_is_half_an_hour_after_the_close_of_a_half_day_too(tmp_path: Path) -> None:
    made = project(tmp_path)
    assert made.evening(0).astimezone(UTC) == datetime(2026, 11, 25, 21, 30, tzinfo=UTC)
    assert made.evening(1).astimezone(UTC) == datetime(2026, 11, 27, 18, 30, tzinfo=UTC)


def test_figures_are_compared_with_the_targets_and_with_the_run(tmp_path: Path) -> None:
    made = project(tmp_path, 600)
    assert made.models == 600 * len(TEAMS) == 1800
    rows = {row.what: row for row in _rows(made, Measured(200, 200, 4 * 10**9, 0, ""), nights(), 2.5)}
    expected = {
        "`mlops live` after one new session, nothing due": (59, True),
        "`mlops live` after one new session, nothing due: peak memory": (1999, True),
        "`mlops live` after one new session, all retrained": (301, False),
        "`mlops live` after one new session, all retrained: peak memory": (3999, True),
        "of step issue: 1800 forecasts into a journal": (2.5, False),
        "`mlops live` at once again: nothing to do": (20, None),
    }
    assert {what: (rows[what].value, rows[what].met) for what in expected} == expected
    assert rows["`mlops live` at once again: nothing to do"].ratio == pytest.approx(0.1)
    few = _rows(project(tmp_path, 2), Measured(200, 200, 1, 0, ""), nights(), 2.5)
    assert {row.met for row in few} == {None}


def test_a_pass_that_did_something_else_is_no_measurement(tmp_path: Path) -> None:
    made = project(tmp_path, 600)
    _check(made, nights())
    changed = nights(**{"new session": night(59, 1, ingest=1800, settle=1800, issue=1799, retrain=0)})
    with pytest.raises(BenchError, match="new session: step issue did 1799 items, expected 1800"):
        _check(made, changed)
