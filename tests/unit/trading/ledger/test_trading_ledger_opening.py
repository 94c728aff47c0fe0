"""Opening ledgers: one writer, the right team and account, old files, damaged files."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError, DataError, ServiceError
from mlops_cli.trading.contract.broker import Activities
from mlops_cli.trading.ledger.opening import IN_MEMORY, claim_account, open_ledger, read_ledger, team_of_account
from mlops_cli.trading.ledger.views import COLUMNS, view
from tests.fakes.ledgers import EVENING, a_decision, a_fill, an_account, an_intent, an_order

OLD = Path(__file__).with_name("ledger_of_format_1.sql")
D = Decimal


@pytest.fixture
def old_ledger(tmp_path) -> Path:
    """A ledger with a row in every table, as the code before named parameters wrote it."""
    path = tmp_path / "red.db"
    connection = sqlite3.connect(path)
    connection.executescript(OLD.read_text(encoding="utf-8"))
    connection.close()
    return path


class TestOldLedger:
    def test_it_is_read_as_it_was_written(self, old_ledger):
        with read_ledger(old_ledger) as ledger:
            assert (ledger.team, ledger.meta("account")) == ("red", "acc-1")
            assert ledger.expected_positions() == {"AAPL": D(80), "TSLA": D(15)}
            assert ledger.expected_cash() == D("85282.10")
            assert ledger.equity_curve() == [(date(2024, 1, 3), D("100123.4"))]
            assert ledger.query_from() == datetime(2024, 1, 1, 21, 30, tzinfo=UTC)
            assert ledger.last_decided() == date(2024, 1, 4)
            (intent,) = ledger.unresolved()
            assert (intent.ticker, intent.side, intent.qty, intent.price_seen) == ("AAPL", "sell", D(80), D("185.64"))
            assert intent.reasons == ("forecast +52.50 bps", "a note")
            assert [row["client_order_id"] for row in ledger.open_orders()] == ["red-NVDA-20240103-b-1a2b3c4d5e6f"]

    def test_every_view_of_it_has_its_columns(self, old_ledger):
        with read_ledger(old_ledger) as ledger:
            for name, columns in COLUMNS.items():
                rows = view(ledger, name)
                assert rows, name
                assert all(set(columns) <= set(row) for row in rows), name

    def test_the_next_pass_can_write_to_every_table(self, old_ledger):
        later, day = datetime(2024, 1, 4, 21, 30, tzinfo=UTC), date(2024, 1, 5)
        intent = an_intent("NVDA", session=day)
        with open_ledger(old_ledger, "red") as ledger:
            ledger.write_decisions(day, [a_decision(intent)], later)
            ledger.record_orders([an_order(intent, "filled", "10", submitted_at=later)], later)
            assert ledger.record_activities(Activities((a_fill(intent, "10", time=later),), ())) == 1
            ledger.record_equity(day, an_account("5"), later)
            assert ledger.set_blocks({"XYZ": "why", "ABC": "why"}, later) == ["ABC"]
            ledger.accept_position("XYZ", D(3), later)
            assert ledger.tell_once(later, "undecided", "words")
        with read_ledger(old_ledger) as ledger:
            assert ledger.expected_positions() == {"AAPL": D(80), "NVDA": D(10), "TSLA": D(15), "XYZ": D(3)}
            assert len(ledger.rows("decisions")) == 6
            assert ledger.rows("blocks")[1]["since"] == "2024-01-03T21:30:00+00:00"

    def test_its_tables_are_those_that_a_new_ledger_gets(self, old_ledger, tmp_path):
        with open_ledger(tmp_path / "blue.db", "blue"):
            pass

        def schema(path: Path) -> set[tuple[object, ...]]:
            """Columns of all tables with their types, defaults and keys, and the indexes."""
            connection = sqlite3.connect(path)
            try:
                tables = "SELECT m.name, c.* FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
                indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
                return {*connection.execute(tables), *connection.execute(indexes)}
            finally:
                connection.close()

        with open_ledger(old_ledger, "red"):
            pass
        assert schema(tmp_path / "blue.db") == schema(old_ledger)


class TestOneWriter:
    def test_a_second_writer_is_refused_and_a_reader_is_not(self, tmp_path):
        path = tmp_path / "red.db"
        with open_ledger(path, "red") as ledger:
            ledger.event(EVENING, "opened", None, "words")
            with pytest.raises(ServiceError, match="another paper-trade is running"), open_ledger(path, "red"):
                pass
            with read_ledger(path) as reader:
                assert [row["text"] for row in reader.rows("events")] == ["words"]
        with open_ledger(path, "red") as ledger:
            assert ledger.team == "red"

    def test_the_lock_is_released_after_an_error(self, tmp_path):
        with pytest.raises(ZeroDivisionError), open_ledger(tmp_path / "red.db", "red"):
            raise ZeroDivisionError
        with open_ledger(tmp_path / "red.db", "red") as ledger:
            assert not ledger.is_empty

    def test_what_was_committed_survives_an_error_after_it(self, tmp_path):
        path = tmp_path / "red.db"

        def fail() -> None:
            with open_ledger(path, "red") as ledger:
                ledger.open_account("account", D(1), {}, (), EVENING)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with read_ledger(path) as ledger:
            assert ledger.meta("account") == "account"

    def test_a_ledger_in_memory_needs_no_lock(self):
        with open_ledger(IN_MEMORY, "red") as first, open_ledger(IN_MEMORY, "red") as second:
            first.set_meta("account", "one")
            assert second.meta("account") is None


class TestRefusals:
    def test_of_another_team(self, tmp_path):
        with open_ledger(tmp_path / "red.db", "red"):
            pass
        with (
            pytest.raises(ConfigError, match="the ledger of team red, not of blue"),
            open_ledger(tmp_path / "red.db", "blue"),
        ):
            pass

    def test_of_a_newer_mlops(self, tmp_path):
        path = tmp_path / "red.db"
        with open_ledger(path, "red") as ledger:
            ledger.set_meta("schema", "2")
        with pytest.raises(ConfigError, match="format 2; this mlops reads 1"), open_ledger(path, "red"):
            pass

    def test_of_a_file_that_is_no_database(self, tmp_path):
        path = tmp_path / "red.db"
        path.write_bytes(b"no database at all" * 100)
        with pytest.raises(DataError, match="cannot be used") as raised, open_ledger(path, "red"):
            pass
        assert "starts from what the broker holds" in (raised.value.hint or "")
        with pytest.raises(DataError, match="cannot be used"), read_ledger(path) as ledger:
            ledger.rows("orders")

    def test_reading_where_there_is_none(self, tmp_path):
        with pytest.raises(DataError, match="there is no ledger yet"), read_ledger(tmp_path / "red.db"):
            pass
        (tmp_path / "blue.db").touch()
        with pytest.raises(DataError, match="there is no ledger yet"), read_ledger(tmp_path / "blue.db"):
            pass


class TestClaim:
    def opened(self, folder: Path, team: str, account: str) -> None:
        with open_ledger(folder / f"{team}.db", team) as ledger:
            ledger.open_account(account, D(1), {}, (), EVENING)

    def test_an_account_of_another_team_is_refused(self, tmp_path):
        self.opened(tmp_path, "red", "account-1")
        with (
            pytest.raises(ConfigError, match="team red trades on") as raised,
            claim_account(tmp_path, "account-1", "blue"),
        ):
            pass
        assert "ALPACA_API_KEY_BLUE" in (raised.value.hint or "")

    def test_its_own_team_and_other_accounts_are_not(self, tmp_path):
        self.opened(tmp_path, "red", "account-1")
        for account, team in (("account-1", "red"), ("account-2", "blue")):
            with claim_account(tmp_path, account, team):
                pass

    def test_two_first_passes_on_one_account_cannot_both_go_on(self, tmp_path):
        with (
            claim_account(tmp_path, "account-1", "red"),
            pytest.raises(ServiceError, match="another pass is running on its account"),
            claim_account(tmp_path, "account-1", "blue"),
        ):
            pass

    def test_the_damaged_ledger_of_others_stops_no_team_that_has_begun(self, tmp_path):
        self.opened(tmp_path, "red", "account-1")
        (tmp_path / "blue.db").write_bytes(b"no database" * 100)
        with claim_account(tmp_path, "account-1", "red"):
            pass
        with pytest.raises(DataError), claim_account(tmp_path, "account-2", "green"):
            pass

    def test_whose_an_account_is(self, tmp_path):
        self.opened(tmp_path, "red", "account-1")
        (tmp_path / "green.db").touch()
        assert team_of_account(tmp_path, "account-1", besides="blue") == "red"
        assert team_of_account(tmp_path, "account-1", besides="red") is None
        assert team_of_account(tmp_path, "account-2", besides="blue") is None


def test_a_new_ledger_is_its_owner_s_alone(tmp_path):
    path = tmp_path / "ledger" / "red.db"
    with open_ledger(path, "red") as ledger:
        ledger.open_account("account-1", D(1), {}, (), EVENING)
        files = [file for file in path.parent.iterdir() if file.name.startswith("red.db")]
        assert len(files) == 3, "with its log and its shared memory"
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
