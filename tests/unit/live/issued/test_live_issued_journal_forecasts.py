"""The journal as a server reads it: what is in it, when it looks changed, and what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError, DataError
from mlops_cli.live.issued.journal_forecasts import JUST_NOW, JournalForecasts
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.live.journal.records import Actual
from mlops_cli.serving.contract.issued_forecasts import IssuedKey
from tests.fakes.journal_forecasts import EVENING, SESSION, a_fleet, a_forecast, issue_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def settle_down() -> None:
    """Wait until the last change is not recent any more."""
    time.sleep(1.2 * JUST_NOW / 1e9)


def test_what_was_issued_on_some_sessions(path: Path) -> None:
    forecast = a_forecast(announced_dividend=0.5)
    with open_journal(path) as journal:
        issue_all(journal, [forecast, *a_fleet(3, SESSION - timedelta(days=1))])
    issued = JournalForecasts(path).made_on([SESSION, date(2020, 1, 2)])
    assert list(issued) == [IssuedKey("main", "red-aapl", SESSION)]
    (made,) = issued.values()
    same = ("team", "ticker", "version", "row_hash", "target_session", "last_close", "predicted_close",
            "raw_predicted_close", "log_return", "announced_dividend")  # fmt: skip
    assert [getattr(made, name) for name in same] == [getattr(forecast, name) for name in same]
    assert made.issued_at == EVENING
    assert made.intervals == {80.0: (98.0, 104.0), 95.0: (96.0, 106.0)}
    assert JournalForecasts(path).made_on([]) == {}


def test_without_a_journal_nothing_was_issued(path: Path) -> None:
    source = JournalForecasts(path)
    assert (source.made_on([SESSION]), source.state()) == ({}, source.state())
    assert not path.exists()


def test_a_change_shows_and_reading_does_not(path: Path) -> None:
    source = JournalForecasts(path)
    states = [source.state()]
    with open_journal(path) as journal:
        issue_all(journal, [a_forecast()])
        settle_down()
        states.append(source.state())
        assert source.state() == states[-1]
        assert len(source.made_on([SESSION])) == 1
        assert source.state() == states[-1], "read while a pass has it open"
        journal.add_actuals([Actual(a_forecast().key, 100.0, 100.0, 1.0)], EVENING)
        settle_down()
        states.append(source.state())
    settle_down()
    after = source.state()
    assert len(source.made_on([SESSION])) == 1
    assert source.state() == after
    assert len({*states}) == 3


def test_a_second_change_at_the_same_time_shows(path: Path) -> None:
    """Two changes within a tick of the file system's clock leave the same sizes and times."""
    with open_journal(path) as journal:
        issue_all(journal, [a_forecast()])
    source = JournalForecasts(path)
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    first = source.state()
    os.utime(path, ns=(now, now))
    assert source.state() != first


def test_a_time_of_the_future_is_not_recent_for_ever(path: Path) -> None:
    path.write_bytes(b"x")
    ahead = time.time_ns() + 3600 * 10**9
    os.utime(path, ns=(ahead, ahead))
    source = JournalForecasts(path)
    assert source.state() == source.state()


def test_what_is_no_usable_journal(path: Path) -> None:
    source = JournalForecasts(path)
    path.write_bytes(b"no database" * 500)
    with pytest.raises(DataError, match="cannot be used"):
        source.made_on([SESSION])
    path.unlink()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t(x)")
    other.close()
    with pytest.raises(ConfigError, match="no journal of forecasts"):
        source.made_on([SESSION])


def test_a_server_loads_no_pandas_with_it() -> None:
    program = "import sys, mlops_cli.live.issued.journal_forecasts; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
