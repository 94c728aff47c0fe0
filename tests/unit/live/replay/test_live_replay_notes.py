"""What is noted of a replay: each pass once, with what is different since the one before."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from mlops_cli.errors import DataError
from mlops_cli.live.replay.evenings import Evening
from mlops_cli.live.replay.notes import HEALTH, PROMOTED, ROLLED_BACK, TRAINED, Event, Observed, open_notes

FIRST, SECOND, THIRD = (Evening(date(2024, 1, day), datetime(2024, 1, day, 21, 21, tzinfo=UTC)) for day in (2, 3, 4))
MODEL = "main/red-aaa"
START = Observed({(MODEL, "v1"): "2024-01-01"}, {MODEL: "v1"}, {"": ("not judged", "")})
RETRAINED = Observed({(MODEL, "v2"): "2024-01-02"}, {MODEL: "v2"}, {"": ("healthy", "")}, lambda model: "fresher")


def test_nothing_is_told_of_what_was_there_before(tmp_path: Path) -> None:
    with open_notes(tmp_path / "replay.db") as notes:
        notes.begin(START)
        assert notes.finish(FIRST, START, failed=0) == []
        assert (notes.events(), notes.finished()) == ([], {FIRST.session})


def test_a_retraining_and_what_it_changed_are_told(tmp_path: Path) -> None:
    with open_notes(tmp_path / "replay.db") as notes:
        notes.begin(START)
        told = notes.finish(FIRST, RETRAINED, failed=2)
        expected = [
            Event("2024-01-02", HEALTH, "", "not judged to healthy"),
            Event("2024-01-02", PROMOTED, MODEL, "v1 to v2: fresher"),
            Event("2024-01-02", TRAINED, MODEL, "v2, trained until 2024-01-02"),
        ]
        assert sorted(told) == expected
        assert notes.events() == expected
        assert notes.failures() == 2
        assert notes.versions() == {(MODEL, "v1"), (MODEL, "v2")}
        assert notes.finish(SECOND, Observed({}, {MODEL: "v2"}), failed=0) == []


def test_an_older_version_that_answers_again_is_a_rollback(tmp_path: Path) -> None:
    with open_notes(tmp_path / "replay.db") as notes:
        notes.begin(START)
        notes.finish(FIRST, RETRAINED, failed=0)
        back = Observed({}, {MODEL: "v1"}, reason=lambda _: "significantly worse")
        notes.finish(SECOND, back, failed=0)
        assert notes.events()[-1] == Event("2024-01-03", ROLLED_BACK, MODEL, "v2 to v1: significantly worse")
        notes.finish(THIRD, Observed({}, {MODEL: "v2"}), failed=0)
        assert notes.events()[-1] == Event("2024-01-04", PROMOTED, MODEL, "v1 to v2"), "the better one once more"


def test_a_model_without_a_forecast_keeps_its_version(tmp_path: Path) -> None:
    with open_notes(tmp_path / "replay.db") as notes:
        notes.begin(START)
        notes.finish(FIRST, Observed({}, {}), failed=1)
        notes.finish(SECOND, Observed({}, {MODEL: "v1"}), failed=0)
        assert notes.events() == []


def test_beginning_again_after_a_killed_first_pass_changes_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with open_notes(tmp_path / "replay.db") as notes:
            notes.begin(START)
    with open_notes(tmp_path / "replay.db") as notes:
        assert len(notes.finish(FIRST, RETRAINED, failed=0)) == 3
        notes.begin(START)
        assert notes.finish(SECOND, Observed({}, {MODEL: "v2"}), failed=0) == []


def test_alerts_and_reasons_are_kept_once(tmp_path: Path) -> None:
    with open_notes(tmp_path / "replay.db") as notes:
        notes.alert(FIRST, ["AAA is stale"])
        notes.alert(FIRST, ["AAA is stale", "the fleet is broken"])
        notes.alert(SECOND, ["AAA is stale"])
        assert notes.alerts() == [
            ("2024-01-02", "AAA is stale"),
            ("2024-01-02", "the fleet is broken"),
            ("2024-01-03", "AAA is stale"),
        ]
        notes.take_part("red", {"red-aaa": "never judged", "red-bbb": ""})
        notes.take_part("red", {"red-aaa": ""})
        assert notes.parts("red") == {"red-aaa": "", "red-bbb": ""}
        assert notes.parts("blue") == {}


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "replay.db").write_bytes(b"no database, but long enough to look like one" * 100)
    with pytest.raises(DataError, match=r"notes of the replay") as error, open_notes(tmp_path / "replay.db"):
        pass
    assert "--restart" in error.value.hint
