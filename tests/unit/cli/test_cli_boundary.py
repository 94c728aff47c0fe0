"""The error boundary: what a command raises, as exit code and message."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mlops_cli.cli.boundary import BoundaryGroup, end_with_parent
from mlops_cli.config.run_environment import STOP_NOTE
from mlops_cli.errors import (
    BrokerError,
    ConfigError,
    DataError,
    MlopsError,
    ModelError,
    ServiceError,
    TrainingError,
)


def fail_with(error: BaseException, **env: str):
    """Run a command that raises `error`, as `mlops fail`."""
    app = typer.Typer(cls=BoundaryGroup, pretty_exceptions_enable=False)

    @app.callback()
    def main() -> None:
        pass

    @app.command()
    def fail() -> None:
        raise error

    return CliRunner().invoke(app, ["fail"], env=env)


@pytest.mark.parametrize(
    ("cls", "code"),
    [
        (MlopsError, 1),
        (ConfigError, 3),
        (DataError, 4),
        (TrainingError, 5),
        (ModelError, 6),
        (BrokerError, 7),
        (ServiceError, 8),
    ],
)
def test_each_error_has_its_code_and_both_its_lines(cls: type[MlopsError], code: int) -> None:
    done = fail_with(cls("params.yaml: seed: wrong", "write a number"))
    assert done.exit_code == code
    assert done.stdout == ""
    assert done.stderr == "error: params.yaml: seed: wrong\nhint: write a number\n"


def test_an_error_without_a_hint_prints_one_line() -> None:
    assert fail_with(DataError("no prices")).stderr == "error: no prices\n"


def test_ctrl_c_ends_with_130_and_says_what_to_do() -> None:
    done = fail_with(KeyboardInterrupt())
    assert done.exit_code == 130
    assert "run the same command again to go on" in done.stderr


def test_a_question_answered_with_no_ends_with_130() -> None:
    done = fail_with(typer.Abort())
    assert (done.exit_code, done.stderr) == (130, "\nnothing was done\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/srv/x"), "error: Permission denied (/srv/x)\n"),
    ],
)
def test_the_operating_systems_refusal_is_the_users_to_repair(error: OSError, line: str) -> None:
    done = fail_with(error)
    assert done.exit_code == 8
    assert done.stderr.startswith(line)
    assert "hint: free some space" in done.stderr


def test_an_error_without_a_number_stays_a_bug() -> None:
    done = fail_with(OSError("of a library"))
    assert (done.exit_code, str(done.exception)) == (1, "of a library")
    assert "hint" not in done.stderr


def test_a_bug_keeps_its_traceback() -> None:
    done = fail_with(ZeroDivisionError("ours"))
    assert isinstance(done.exception, ZeroDivisionError)
    assert done.stderr == ""


def test_a_usage_error_stays_typers_own() -> None:
    assert fail_with(typer.BadParameter("no such thing")).exit_code == 2


def test_the_error_is_noted_for_the_run_above(tmp_path: Path) -> None:
    note = tmp_path / "note.json"
    fail_with(ModelError("damaged", "remove it"), **{STOP_NOTE: str(note)})
    assert json.loads(note.read_text()) == {"exit_code": 6, "message": "damaged"}


def test_a_note_that_cannot_be_written_changes_no_exit_code(tmp_path: Path) -> None:
    done = fail_with(ModelError("damaged"), **{STOP_NOTE: str(tmp_path / "gone" / "note.json")})
    assert done.exit_code == 6
    assert "could not write" in done.stderr


def test_the_end_of_the_operating_system_is_noted_too(tmp_path: Path) -> None:
    note = tmp_path / "note.json"
    fail_with(OSError(errno.ENOSPC, "No space left on device"), **{STOP_NOTE: str(note)})
    assert json.loads(note.read_text()) == {"exit_code": 8, "message": "No space left on device"}


def test_outside_of_dvc_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    before = threads()
    end_with_parent()
    assert threads() == before


def threads() -> int:
    import threading

    return threading.active_count()


def test_a_good_command_is_let_through() -> None:
    app = typer.Typer(cls=BoundaryGroup)

    @app.callback()
    def main() -> None:
        pass

    app.command("good")(lambda: print("fine"))
    done = CliRunner().invoke(app, ["good"])
    assert (done.exit_code, done.stdout) == (0, "fine\n")
