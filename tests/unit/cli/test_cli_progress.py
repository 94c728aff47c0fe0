"""Progress on stderr: one line a stage in a log, a bar with rate and time left on a terminal."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest

from mlops_cli.cli.progress import ConsoleProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_line_a_stage_with_its_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleProgress() as progress:
        progress.start("featurize main", 4)
        progress.doing("red-aapl")
        progress.done(4)
        progress.start("train main", 0)
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"featurize main: 0\.\d s, [\d.]+ models/s", first)
    assert re.fullmatch(r"train main: 0\.\d s", second)


def test_verbose_says_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleProgress(verbose=True) as progress:
        progress.start("train main", 1)
        progress.doing("training red-aapl")
    assert capsys.readouterr().err.splitlines()[0] == "train main: training red-aapl"


def test_a_stage_that_broke_off_is_not_called_finished(capsys: pytest.CaptureFixture[str]) -> None:
    def stage() -> None:
        with ConsoleProgress() as progress:
            progress.start("train main", 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stage()
    assert capsys.readouterr().err == ""


def test_a_terminal_sees_how_many_how_fast_and_how_long_still(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
    with ConsoleProgress() as progress:
        progress.start("train main", 100)
        for _ in range(5):
            progress.done(2)
            progress.doing("training red-aapl")
            time.sleep(0.12)
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "10/100" in seen
    assert re.search(r"\d+\.\d (models/s|s/model)", seen)
    assert re.search(r"0:00:\d\d .*0:0\d:\d\d", seen), "time passed, and time left"
    assert "training red-aapl" in seen


def test_slow_work_is_told_in_seconds_a_model(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    clock = iter([0.0, 90.0, 90.0, 90.0, 90.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with ConsoleProgress() as progress:
        progress.start("train main", 3)
        progress.done(3)
    assert capsys.readouterr().err == "train main: 90.0 s, 30.0 s/model\n"


def test_words_from_outside_are_neither_obeyed_nor_taken_for_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConsoleProgress(verbose=True) as progress:
        progress.start("ingest main", 1)
        progress.doing("\x1b[2J[/nothing]")
    assert capsys.readouterr().err.splitlines()[0] == r"ingest main: \x1b[2J[/nothing]"
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ConsoleProgress() as progress:
        progress.start("ingest main", 1)
        progress.doing("\x1b]0;pwn[/nothing]")
        time.sleep(0.3)
    assert "\x1b]0;" not in terminal.getvalue()
