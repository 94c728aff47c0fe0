"""`kill -9` at any line of a worker: no job is lost, and none is installed twice.

Everything is real: the database, the files, the processes and SIGKILL. 500 jobs and 100 kills: `make test-soak`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.live.jobs.postgres_database import PostgresDatabase
from tests.fakes.postgres_server import missing_for_postgres, postgres_server

SEEDS = 20
AT_A_TIME = 4
Order = dict[str, Any]


@contextmanager
def runner() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.job_runner"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def run(process: subprocess.Popen[str], order: Order) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    Path(order["folder"]).mkdir(parents=True)
    process.stdin.write(json.dumps({"url": None, **order}) + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def check(order: Order, answer: dict[str, Any]) -> None:
    assert answer["crashes"] == 0, f"{order}: a bug in the worker; its traceback is above"
    assert answer["states"] == {"done": order["jobs"]}, order
    assert (answer["twice"], answer["without_version"]) == ([], []), order


def test_no_job_is_lost_or_installed_twice(tmp_path: Path) -> None:
    def some(first: int) -> list[tuple[Order, dict[str, Any]]]:
        with runner() as process:
            orders = [
                {"folder": str(tmp_path / str(seed)), "seed": seed, "jobs": 14, "workers": 2, "kills": 3, "lease": 0.2}
                for seed in range(first, SEEDS, AT_A_TIME)
            ]
            return [(order, run(process, order)) for order in orders]

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = [answer for answers in pool.map(some, range(AT_A_TIME)) for answer in answers]
    for order, answer in answers:
        check(order, answer)
    assert len(answers) == SEEDS
    assert sum(answer["kills"] for _, answer in answers) > 2 * SEEDS
    assert sum(answer["taken_again"] for _, answer in answers) > SEEDS / 2
    assert sum(answer["killed_after_installing"] for _, answer in answers) > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_500_jobs_3_workers_100_kills(tmp_path: Path, kind: str, seed: int) -> None:
    order = {"folder": str(tmp_path / "queue"), "seed": seed, "jobs": 500, "workers": 3, "kills": 100, "lease": 0.4}
    if kind == "sqlite":
        with runner() as process:
            answer = run(process, order)
    else:
        missing = missing_for_postgres()
        if missing is not None:
            pytest.skip(missing)
        with postgres_server() as server, runner() as process:
            PostgresDatabase(server.url).close()
            order["url"] = server.url
            answer = run(process, order)
    check(order, answer)
    assert answer["kills"] == 100
    assert answer["killed_after_installing"] > 0
