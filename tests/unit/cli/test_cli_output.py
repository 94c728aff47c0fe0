"""Printing: results on stdout, remarks on stderr, tables whole in a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from mlops_cli.cli.output import print_json, print_table, result_console, say, show
from mlops_cli.cli.stage_calls import print_failures
from mlops_cli.errors import BrokerError, printable
from mlops_cli.pipeline.stages.stage import ItemFailure


def test_remarks_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("first", "second")
    say()
    assert capsys.readouterr() == ("", "first\nsecond\n")


def test_json_goes_to_stdout_with_days_and_paths_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"day": date(2024, 1, 2), "folder": Path("a/b"), "share": 0.5, "none": None})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"day": "2024-01-02", "folder": "a/b", "share": 0.5, "none": None}
    assert err == ""


def test_a_piped_row_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "value"), [("x" * 300, 1), ("b", None)])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "x" * 300 in line and line.rstrip().endswith("1")]
    assert "None" not in "".join(lines)


OUTSIDE = "\x1b]0;pwn\x07\x1b[2J\x1b[31mred\u202e\x9b[/nothing]\r\ud800"
ESCAPED = r"\x1b]0;pwn\x07\x1b[2J\x1b[31mred\u202e\x9b[/nothing]\r\ud800"


def test_words_from_outside_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Colours, titles, cleared screens, text from right to left, half characters, and Rich's markup in a table."""
    say(f"refused: {OUTSIDE}")
    show(f"red: {OUTSIDE}")
    print_table(("note",), [(OUTSIDE,)])
    print_json({"note": OUTSIDE})
    print_failures([ItemFailure("red-aapl", "ingest", OUTSIDE, 8)])
    out, err = capsys.readouterr()
    assert f"refused: {ESCAPED}\n" in err
    assert f"failed: red-aapl (ingest): {ESCAPED}\n" in err
    assert f"red: {ESCAPED}\n" in out
    assert out.count(ESCAPED) == 2
    assert not [character for character in out + err if not character.isprintable() and character != "\n"]


def test_errors_hold_no_control_characters_and_keep_their_lines() -> None:
    error = BrokerError(f"first\nsecond {OUTSIDE}", f"hint {OUTSIDE}")
    assert (error.message, error.hint) == (f"first\nsecond {ESCAPED}", f"hint {ESCAPED}")
    assert str(error) == f"{error.message}\n{error.hint}"


@pytest.mark.parametrize("text", ["", "plain", "Zürich, 東京 £ ½", "two\nlines\tand a tab", "\\x1b"])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_square_brackets_in_a_cell_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("collection",), [("configs/mine",)])
    assert "configs/mine" in capsys.readouterr().out


def test_a_table_without_rows_shows_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("model", "branch"), [])
    assert capsys.readouterr().out.split()[:2] == ["model", "branch"]


@pytest.mark.parametrize("width", [120, 200])
def test_the_console_of_a_pipe_is_as_wide_as_asked(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert result_console(width).width == width


def test_printing_loads_rich_only_for_tables() -> None:
    program = "import sys; from mlops_cli.cli import options, output; print('rich.console' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
