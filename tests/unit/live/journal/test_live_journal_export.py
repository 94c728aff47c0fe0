"""The journal as a table and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from mlops_cli.errors import ConfigError
from mlops_cli.live.journal.export import export_frame, write_export
from mlops_cli.live.journal.frames import frame_of, journal_frame
from mlops_cli.live.journal.journal import Journal
from mlops_cli.live.journal.opening import open_journal
from mlops_cli.system.sqlite_files import IN_MEMORY
from tests.fakes.journal_forecasts import EVENING, SESSION, TARGET, a_fleet, a_forecast, frame_in, issue_all, settled


@pytest.fixture
def journal() -> Iterator[Journal]:
    with open_journal(IN_MEMORY) as opened:
        issue_all(opened, [a_forecast()])
        issue_all(opened, [a_forecast(model="late", intervals=(), previous_session=None, previous_close=None)],
                  EVENING + timedelta(days=4))  # fmt: skip
        settled(opened, {"AAPL": {"2024-01-03": 24.75, "2024-01-04": 25.0, "2024-01-05": 25.5}})
        yield opened


class TestFrame:
    def test_types(self, journal: Journal) -> None:
        frame = frame_in(journal)
        kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
        assert {kinds[name] for name in ("branch", "model", "version", "row_hash")} == {"str"}
        assert {kinds[name] for name in ("session", "target_session", "previous_session")} == {"datetime64[s]"}
        assert kinds["issued_at"].endswith("UTC]")
        assert kinds["target_closes_at"].endswith("UTC]")
        assert kinds["settled_at"].endswith("UTC]")
        assert kinds["restatements"] == kinds["lower_80"] == kinds["last_close"] == "float64"
        assert [name for name in frame.columns if "_80" in name or "_95" in name] == [
            "lower_80", "upper_80", "constant_80", "lower_95", "upper_95", "constant_95",
        ]  # fmt: skip

    def test_an_empty_journal_has_the_same_columns(self) -> None:
        with open_journal(IN_MEMORY) as journal:
            frame = frame_in(journal)
        assert len(frame) == 0
        assert {"model", "session", "actual_close", "settled_at"} <= set(frame.columns)
        assert "intervals" not in frame.columns

    def test_batches_are_joined_with_all_their_levels(self) -> None:
        with open_journal(IN_MEMORY) as journal:
            issue_all(journal, a_fleet(5))
            (rows,) = journal.batches()
        parts = journal_frame([rows[:2], rows[2:3], rows[3:]])
        pd.testing.assert_frame_equal(parts, journal_frame([rows]))

    def test_forecasts_that_were_not_issued(self, journal: Journal) -> None:
        forecasts = [issued.forecast for issued in journal.forecasts()]
        issued = frame_in(journal)
        frame = frame_of(forecasts)
        pd.testing.assert_frame_equal(frame, issued[frame.columns])
        assert {"issued_at", "actual_close"}.isdisjoint(frame.columns)
        assert len(frame_of([])) == 0


class TestExport:
    def test_rows(self, journal: Journal) -> None:
        rows = export_frame(frame_in(journal)).set_index("model")
        assert rows["stale"].to_dict() == {"late": True, "red-aapl": False}
        row = rows.loc["red-aapl"]
        assert (row["session"], row["target_session"]) == (SESSION, TARGET)
        assert (row["actual_close"], row["table_close"], row["units"]) == (102.0, 25.5, pytest.approx(0.25))
        assert (row["issued_at"], row["restatements"]) == (EVENING, 0)

    def test_parquet_holds_everything(self, journal: Journal, tmp_path: Path) -> None:
        frame = frame_in(journal)
        path = write_export(frame, tmp_path / "folder" / "journal.parquet")
        read = pd.read_parquet(path)
        written = export_frame(frame).drop(columns="previous_session")
        pd.testing.assert_frame_equal(read.drop(columns="previous_session"), written, check_dtype=False)
        assert read["previous_session"].tolist() == [None, date(2024, 1, 3)]

    def test_csv_holds_all_digits(self, journal: Journal, tmp_path: Path) -> None:
        issue_all(journal, [a_forecast(model="third", last_close=100 / 3)])
        path = write_export(frame_in(journal), tmp_path / "journal.CSV")
        read = pd.read_csv(path).set_index("model")
        assert read.loc["third", "last_close"] == 100 / 3
        assert read.loc["red-aapl", "session"] == "2024-01-04"
        assert pd.isna(read.loc["late", "lower_80"])

    def test_an_empty_selection(self, tmp_path: Path) -> None:
        with open_journal(IN_MEMORY) as journal:
            path = write_export(frame_in(journal), tmp_path / "journal.csv")
        assert path.read_text().startswith("session,branch,model,team,")
        assert len(path.read_text().splitlines()) == 1

    def test_another_kind_of_file(self, journal: Journal, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"exported as .parquet or .csv"):
            write_export(frame_in(journal), tmp_path / "journal.xlsx")
        assert list(tmp_path.iterdir()) == []

    def test_a_place_that_cannot_be_written(self, journal: Journal, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError, match="cannot be written"):
            write_export(frame_in(journal), tmp_path / "file" / "journal.csv")
