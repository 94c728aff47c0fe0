"""`kill -9` at any line and at any moment: a batch is in the journal as a whole or not at all, and is never changed.

Real processes, real files. Each kill leaves the journal to the next process, as it would be left to the next pass.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.errors import DataError
from mlops_cli.live.journal.opening import open_journal, read_journal
from tests.fakes.journal_forecasts import EVENING, a_fleet
from tests.fakes.journal_writer import FIRST

MODELS, NIGHTS = 40, 3
BATCHES = 2 * NIGHTS - 1  # each night issues a batch, and all but the first settle one
SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a process with threads forks badly


class Writer:
    """Nights in processes of their own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.journal_writer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **SINGLE_THREADED},
        )
        assert self._answer() == "ready\n"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def run(self, path: Path, **changes: Any) -> dict[str, Any]:
        order = {"path": str(path), "models": MODELS, "nights": NIGHTS, "kill_at": None, "kill_after": None, **changes}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._answer())
        assert answer["outcome"] != "crashed"
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=20)


@pytest.fixture(scope="module")
def writer() -> Iterator[Writer]:
    started = Writer()
    yield started
    started.close()


def batches(path: Path) -> int:
    """How many batches are in the journal; every one must be whole, and the earlier ones there too."""
    try:
        with read_journal(path) as reader:
            issued = list(reader.forecasts())
    except DataError as error:
        if "there is no journal yet" not in error.message:
            raise
        issued = []
    with open_journal(path) as journal:
        assert journal.issue([], EVENING).issued == 0, "it can be written to"
    forecasts: Counter[date] = Counter(each.forecast.session for each in issued)
    actuals: Counter[date] = Counter(each.forecast.session for each in issued if each.settled)
    assert {*forecasts.values(), *actuals.values()} <= {MODELS}
    expected = {FIRST + timedelta(days=number): MODELS for number in range(len(forecasts))}
    assert forecasts == expected
    assert len(actuals) in (max(0, len(forecasts) - 2), max(0, len(forecasts) - 1))
    return len(forecasts) + len(actuals)


def check_the_end(path: Path) -> None:
    """The journal holds what an undisturbed one holds: the forecasts, and the time at which they were first issued."""
    assert batches(path) == BATCHES
    with open_journal(path) as journal:
        for each in journal.forecasts():
            nights = each.forecast.session - FIRST
            assert each.issued_at == EVENING + nights
            assert each.settled is None or each.settled.restatements == 0
        forecasts = [each.forecast for each in journal.forecasts()]
    assert forecasts == [each for number in range(NIGHTS) for each in a_fleet(MODELS, FIRST + timedelta(days=number))]


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_lines(writer: Writer, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lines = writer.run(tmp_path / "undisturbed.db")["lines"]
    path, so_far = tmp_path / "journal.db", 0
    for _ in range(6):
        assert writer.run(path, kill_at=chance.randint(1, lines))["outcome"] == "killed"
        before, so_far = so_far, batches(path)
        assert so_far >= before
    assert writer.run(path)["outcome"] == "done"
    check_the_end(path)


def test_killed_around_every_write_of_the_first_night(writer: Writer, tmp_path: Path) -> None:
    """Its first lines create the file and its tables; its last lines commit the first batch."""
    lines = writer.run(tmp_path / "undisturbed.sqlite", nights=1)["lines"]
    counts = []
    for line in [*range(1, 31, 2), *range(lines - 30, lines + 1, 2)]:
        path = tmp_path / f"{line}.db"
        assert writer.run(path, nights=1, kill_at=line)["outcome"] == "killed"
        counts.append(batches(path))
    assert counts == sorted(counts)
    assert {*counts} == {0, 1}


def test_killed_at_random_moments(writer: Writer, tmp_path: Path) -> None:
    """Also inside SQLite, where there are no lines: while it writes and waits for the disk."""
    chance = random.Random(0)
    begin = time.perf_counter()
    writer.run(tmp_path / "undisturbed.db", traced=False)
    duration = time.perf_counter() - begin
    for number in range(12):
        path = tmp_path / f"{number}.db"
        writer.run(path, kill_after=chance.uniform(0.05, 1.0) * duration)
        batches(path)
        writer.run(path)
        check_the_end(path)
