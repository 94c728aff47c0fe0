"""The kill switch: files that anybody may make, read and remove."""

from __future__ import annotations

import pytest

from mlops_cli.trading.passes.halt import ALL_TEAMS, HaltFiles


@pytest.fixture
def red(tmp_path) -> HaltFiles:
    return HaltFiles(tmp_path / "ledgers", "red")


def test_without_files_nobody_is_halted(red):
    assert red.reason() is None
    assert red.resume_commands() == ""
    assert red.others() == []


def test_a_halt_says_why_and_when(red):
    path = red.halt("looking first")
    assert path.name == "HALT-red"
    reason = red.reason()
    assert reason is not None
    assert reason.startswith("looking first (")
    assert reason.endswith(" UTC)")


def test_the_first_reason_stays(red):
    red.halt("first")
    red.halt("second")
    assert (red.reason() or "").startswith("first")


def test_resuming_lifts_it_once(red):
    red.halt("why")
    assert red.resume()
    assert red.reason() is None
    assert not red.resume()


def test_a_file_made_by_the_shell_halts_without_words(tmp_path):
    (tmp_path / "HALT-red").touch()
    assert HaltFiles(tmp_path, "red").reason() == "HALT-red is there"
    (tmp_path / "HALT-red").write_text("  moving house \n")
    assert HaltFiles(tmp_path, "red").reason() == "moving house"


def test_all_teams_are_halted_by_one_file(tmp_path):
    HaltFiles(tmp_path, ALL_TEAMS).halt("storm")
    red = HaltFiles(tmp_path, "red")
    assert (red.reason() or "").startswith("storm")
    assert not red.resume(), "its own halt, of which there is none"
    assert red.reason() is not None


def test_which_commands_resume_a_team(tmp_path):
    red, everybody = HaltFiles(tmp_path, "red"), HaltFiles(tmp_path, ALL_TEAMS)
    red.halt("why")
    assert red.resume_commands() == "mlops paper-trade resume --team red"
    everybody.halt("storm")
    assert red.resume_commands() == "mlops paper-trade resume --team all && mlops paper-trade resume --team red"
    assert everybody.resume_commands() == "mlops paper-trade resume --team all"
    assert everybody.others() == ["red"]
    assert red.others() == ["all"]


def test_the_halt_of_another_team_is_not_its_own(tmp_path):
    HaltFiles(tmp_path, "blue").halt("why")
    red = HaltFiles(tmp_path, "red")
    assert red.reason() is None
    assert red.others() == ["blue"]


def test_a_file_that_cannot_be_read_halts(tmp_path):
    (tmp_path / "HALT-red").mkdir()
    assert "HALT-red cannot be read" in (HaltFiles(tmp_path, "red").reason() or "")


def test_bytes_that_are_no_text_halt_too(tmp_path):
    (tmp_path / "HALT-red").write_bytes(b"\xff\xfe stop")
    assert (HaltFiles(tmp_path, "red").reason() or "").endswith("stop")
