"""Opening the journal: what is none, what cannot be read, and several processes at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError, DataError, ServiceError
from mlops_cli.live.journal.opening import open_journal, read_journal
from mlops_cli.live.journal.records import IssueReport
from mlops_cli.system import sqlite_files
from tests.fakes.journal_forecasts import EVENING, a_fleet, a_forecast, issue_all

OLD = Path(__file__).with_name("journal_of_format_1.sql")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


def count(path: Path) -> int:
    with read_journal(path) as journal:
        return sum(1 for _ in journal.forecasts())


def by_hand(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_it_is_created_once_for_its_owner_alone(path: Path) -> None:
    for _ in range(2):
        with open_journal(path) as journal:
            assert (journal.meta("kind"), journal.meta("format")) == ("journal of forecasts", "1")
            assert journal.meta("team") is None
    assert path.stat().st_mode & 0o777 == 0o600
    assert count(path) == 0


def test_reading_where_there_is_none(path: Path) -> None:
    with pytest.raises(DataError, match="there is no journal yet"), read_journal(path):
        pass
    path.parent.mkdir()
    path.touch()  # its creation was killed
    with pytest.raises(DataError, match="there is no journal yet"), read_journal(path):
        pass
    with open_journal(path) as journal:
        issue_all(journal, [a_forecast()])
    assert count(path) == 1


def test_a_journal_of_a_newer_mlops(path: Path) -> None:
    with open_journal(path):
        pass
    by_hand(path, "UPDATE meta SET value = '2' WHERE key = 'format'")
    for opened in (open_journal, read_journal):
        with pytest.raises(ConfigError, match="a journal of format 2; this mlops reads 1") as refusal, opened(path):
            pass
        assert refusal.value.exit_code == 3
        assert refusal.value.hint == "update mlops"


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE runs(id INTEGER)"],
        ["CREATE TABLE meta(key TEXT, value TEXT)", "INSERT INTO meta VALUES ('schema', '1'), ('team', 'red')"],
    ],
    ids=["of MLflow", "a ledger"],
)
def test_another_database_is_left_as_it_is(path: Path, statements: list[str]) -> None:
    path.parent.mkdir()
    by_hand(path, *statements)
    before = path.read_bytes()
    for opened in (read_journal, open_journal):
        with pytest.raises(ConfigError, match="this database is no journal of forecasts"), opened(path):
            pass
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert names <= {"runs", "meta"}
    assert len(path.read_bytes()) == len(before)


def test_a_file_that_is_no_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    for opened in (open_journal, read_journal):
        with pytest.raises(DataError, match="the journal cannot be used") as refusal, opened(path):
            pass
        assert refusal.value.exit_code == 4
        assert "restore it from a backup" in refusal.value.hint


def test_pages_that_were_overwritten(path: Path) -> None:
    with open_journal(path) as journal:
        issue_all(journal, a_fleet(200))
    by_hand(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[4096 * 6 :] = b"\xff" * (len(content) - 4096 * 6)
    path.write_bytes(content)
    with pytest.raises(DataError, match="malformed"):
        count(path)


def test_a_locked_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_journal(path) as journal:
        issue_all(journal, [a_forecast()])
    monkeypatch.setattr(sqlite_files, "WAIT_SECONDS", 0.02)
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(ServiceError, match="another program has locked the journal") as refusal,
            open_journal(path) as journal,
        ):
            journal.issue(a_fleet(1), EVENING)
        assert refusal.value.exit_code == 8
        assert count(path) == 1, "readers do not wait"


def test_readers_see_whole_batches_while_a_pass_writes(path: Path) -> None:
    with open_journal(path):
        pass
    counts: Counter[int] = Counter()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            counts[count(path)] += 1

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with open_journal(path) as journal:
            for number in range(5):
                forecasts = [a_forecast(model=f"m{number}-{model}") for model in range(300)]
                issue_all(journal, forecasts)
    finally:
        done.set()
        reader.join()
    assert set(counts) <= {0, 300, 600, 900, 1200, 1500}


def test_two_passes_at_once_issue_everything_once(path: Path) -> None:
    batch = a_fleet(150)
    reports: list[IssueReport] = []
    begin = threading.Barrier(4)

    def write() -> None:
        begin.wait()
        with open_journal(path) as journal:
            reports.append(journal.issue(batch, EVENING))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((report.issued, report.unchanged) for report in reports) == [(0, 150)] * 3 + [(150, 0)]
    assert count(path) == 150


class TestOldJournal:
    """A journal with a forecast of a model with intervals and one without, settled, and restated after a split."""

    @pytest.fixture
    def old(self, path: Path) -> Path:
        path.parent.mkdir()
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(OLD.read_text(encoding="utf-8"))
        return path

    def test_it_is_read_as_it_was_written(self, old: Path) -> None:
        with read_journal(old) as journal:
            first, second = journal.forecasts()
            assert [each.forecast.model for each in (first, second)] == ["old-aapl", "red-aapl"]
            assert second.forecast == a_forecast()
            assert second.issued_at == EVENING
            assert second.settled is not None
            assert second.settled.restatements == 1
            closes = [(actual.actual_close, actual.units) for _, actual in journal.history(second.forecast.key)]
            assert closes == [(101.5, 1.0), (101.5, 0.25)]

    def test_the_next_pass_goes_on_with_it(self, old: Path) -> None:
        with open_journal(old) as journal:
            report = journal.issue([a_forecast(), a_forecast(model="new-aapl")], EVENING)
            assert (report.issued, report.unchanged, report.refused) == (1, 1, ())
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                journal._db.execute("DELETE FROM forecasts")
        assert count(old) == 3

    def test_its_tables_are_those_of_a_new_one(self, old: Path, tmp_path: Path) -> None:
        def schema(journal: Path) -> set[str]:
            with closing(sqlite3.connect(journal)) as connection:
                return {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}

        with open_journal(tmp_path / "new.db"):
            pass
        assert schema(old) == schema(tmp_path / "new.db"), "another schema needs another format number"


def test_a_server_can_read_it_without_loading_pandas(path: Path) -> None:
    with open_journal(path) as journal:
        issue_all(journal, [a_forecast()])
    program = (
        "import sys; from pathlib import Path; from mlops_cli.live.journal.opening import read_journal\n"
        "with read_journal(Path(sys.argv[1])) as journal: print(journal.newest()[0].forecast.model)\n"
        "assert not {'pandas', 'numpy'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout == "red-aapl\n"
