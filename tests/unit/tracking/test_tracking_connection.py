"""The connection to MLflow: how long it may take to give up, and what it says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.tracking.mlflow_connection import MAX_REASON, SETTINGS, reason, without_password
from mlops_cli.tracking.mlflow_registry import beats
from mlops_cli.tracking.tracker import NullTracker, RunContext, TrainedModel

NUMBERS = st.floats(allow_nan=True, allow_infinity=False)


def test_a_server_that_is_down_is_given_up_within_about_ten_seconds() -> None:
    tries = 1 + int(SETTINGS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    assert tries * int(SETTINGS["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 10


def test_mlflow_neither_calls_home_nor_prints() -> None:
    assert SETTINGS["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert SETTINGS["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "true"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:5000/api", "http://***@host:5000/api"),
        ("postgresql://user:p%40ss@db/x and http://a:b@c", "postgresql://***@db/x and http://***@c"),
        ("http://host/path@version", "http://host/path@version"),
        ("sqlite:////folder/mlruns.db", "sqlite:////folder/mlruns.db"),
        ("no address: me@example.org", "no address: me@example.org"),
        ("", ""),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown


@given(st.text("abcXYZ0189:%._-", min_size=1), st.text("abc", min_size=1))
def test_whatever_stands_before_the_host_is_hidden(user: str, host: str) -> None:
    assert without_password(f"see http://{user}@{host}/api") == f"see http://***@{host}/api"


def test_a_reason_is_one_short_line() -> None:
    assert reason(OSError("first\nsecond")) == "first"
    assert reason(OSError("\x1b[31mred")) == r"\x1b[31mred"
    assert reason(OSError()) == "OSError"
    assert reason(OSError("  \n ")) == "OSError"
    assert len(reason(OSError("x" * 10_000))) == MAX_REASON
    assert reason(OSError("http://me:secret@host is down")) == "http://***@host is down"


class TestChampion:
    @pytest.mark.parametrize(
        ("challenger", "champion", "expected"),
        [
            (0.98, 0.99, True),
            (0.99, 0.98, False),
            (0.98, 0.98, False),
            (0.98, math.nan, True),
            (math.nan, 0.98, False),
            (math.nan, math.nan, False),
        ],
    )
    def test_the_lower_ratio_wins_and_an_unknown_one_never(
        self, challenger: float, champion: float, expected: bool
    ) -> None:
        assert beats(challenger, champion) is expected

    @given(NUMBERS, NUMBERS)
    def test_never_do_both_beat_each_other(self, one: float, other: float) -> None:
        assert not (beats(one, other) and beats(other, one))

    @given(NUMBERS)
    def test_none_beats_itself(self, ratio: float) -> None:
        assert not beats(ratio, ratio)


def test_the_tracker_that_is_off_takes_everything_and_counts_nothing(tmp_path: object) -> None:
    model = TrainedModel("red-a", "red", "A", "main", "ff", {}, [], {}, tmp_path)
    tracker = NullTracker()
    tracker.prepare()
    tracker.record_training([model], RunContext())
    tracker.record_test({model.key: {"mae": 1.0}}, RunContext())
    assert tracker.count_trainings(["red-a"]) == 0
    assert model.key == ("red-a", "ff")
