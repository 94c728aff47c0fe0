"""Who is champion, what a warning may say, and that nothing heavy is loaded before there is something to record."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.tracking.mlflow_connection import MAX_REASON, reason, without_password
from mlops_cli.tracking.mlflow_registry import beats

ratios = st.floats(allow_infinity=False)


@pytest.mark.parametrize(
    ("challenger", "champion", "wins"),
    [
        (0.98, 0.99, True),
        (0.99, 0.99, False),
        (1.00, 0.99, False),
        (math.nan, 0.99, False),
        (0.99, math.nan, True),
        (math.nan, math.nan, False),
    ],
)
def test_only_a_lower_ratio_beats_the_champion(challenger: float, champion: float, wins: bool) -> None:
    assert beats(challenger, champion) is wins


@given(ratios, ratios)
def test_two_models_never_beat_each_other(one: float, other: float) -> None:
    assert not (beats(one, other) and beats(other, one))
    assert not beats(one, one)


@given(ratios, ratios, ratios)
def test_beating_is_transitive(one: float, other: float, third: float) -> None:
    if beats(one, other) and beats(other, third):
        assert beats(one, third)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:5000/api?x=1", "http://***@host:5000/api?x=1"),
        ("postgresql+psycopg://u:p@db/x and mysql://r:q@y/z", "postgresql+psycopg://***@db/x and mysql://***@y/z"),
        ("sqlite:////home/me/mlruns.db", "sqlite:////home/me/mlruns.db"),
        ("mail me@host", "mail me@host"),
    ],
)
def test_no_password_is_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_a_reason_is_one_short_line_without_passwords() -> None:
    text = reason(OSError("GET http://me:secret@host/" + "x" * 2000 + "\n[SQL: SELECT secret]"))
    assert len(text) == MAX_REASON
    assert "secret" not in text
    assert "\n" not in text


def test_an_error_without_words_is_named() -> None:
    assert reason(TimeoutError()) == "TimeoutError"


def test_a_tracker_with_nothing_to_record_loads_no_mlflow() -> None:
    code = (
        "import sys, pathlib\n"
        "from mlops_cli.tracking.mlflow_tracker import MlflowTracker\n"
        "from mlops_cli.tracking.tracker import RunContext\n"
        "tracker = MlflowTracker('http://127.0.0.1:9', pathlib.Path('nowhere'))\n"
        "tracker.record_training([], RunContext()); tracker.record_test({}, RunContext())\n"
        "print([m for m in ('mlflow', 'sqlalchemy', 'onnx', 'numpy', 'pandas') if m in sys.modules])\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
