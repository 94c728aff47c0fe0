"""Requests that are made to take all memory or time: the server refuses them, and answers others meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.fakes.bombs import Bomb, one_of_each, random_bomb
from tests.fakes.served_projects import Served, served_project, serving

MODEL = "red-t000"
# the targets are 100 MB and 0.1 s on a machine of its own, see docs/reliability.md; here, other tests run beside
GROWTH_MB = 150
MANY_MB = 250  # thousands of requests of all kinds load every library once and leave holes in the heap
LATE_SECONDS = 1.5
ANSWER_SECONDS = 30
SEED = 20261128


@dataclass
class Watched:
    """What the server did while it got bombs: its largest memory in bytes, and the seconds that /live took."""

    most: int = 0
    waits: list[float] = field(default_factory=list)


@contextmanager
def watching(served: Served) -> Iterator[Watched]:
    """Ask whether the server lives, and measure its memory, all the time."""
    watched, done = Watched(), threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=served.address, timeout=60) as client:
            while not done.wait(0.02):
                begun = time.monotonic()
                assert client.get("/v2/health/live").status_code == 200
                watched.waits.append(time.monotonic() - begun)
                watched.most = max(watched.most, served.memory)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        done.set()
        thread.join()


def throw(client: httpx.Client, bomb: Bomb) -> int:
    answer = client.post(bomb.path, content=bomb.body, headers=bomb.headers)
    assert answer.status_code < 500 or answer.status_code == 503, (bomb.name, answer.status_code, answer.text[:500])
    assert answer.status_code < 400 or len(answer.content) < 5000, (bomb.name, answer.text[:500])
    return answer.status_code


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = served_project(tmp_path_factory.mktemp("bombs") / "p", [MODEL])
    with serving(root) as running:
        assert running.infer(MODEL).status == 200
        running.ask(f"/transform/{MODEL}", b"date,close\n1,1\n")  # loads pandas, 50 MB, once
        yield running


def test_no_kind_of_bomb_takes_much_memory_or_holds_others_up(served: Served) -> None:
    before, statuses = served.memory, {}
    with httpx.Client(base_url=served.address, timeout=60) as client, watching(served) as watched:
        for bomb in one_of_each(MODEL):
            begun = time.monotonic()
            statuses[bomb.name] = throw(client, bomb)
            assert time.monotonic() - begun < ANSWER_SECONDS, bomb.name
    right = {name for name, status in statuses.items() if status == 200}
    assert right == {"rows that are right", "csv: features that are right"}
    assert (watched.most - before) / 1e6 < GROWTH_MB
    assert max(watched.waits) < LATE_SECONDS
    assert served.infer(MODEL).status == 200


@pytest.mark.parametrize("seconds", [pytest.param(5, id="short"), pytest.param(600, id="long", marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
def test_random_bombs_leave_the_server_as_it_was(served: Served, seconds: int) -> None:
    random, before, thrown = Random(SEED), served.memory, 0
    end = time.monotonic() + seconds
    with httpx.Client(base_url=served.address, timeout=60) as client, watching(served) as watched:
        while time.monotonic() < end:
            throw(client, random_bomb(random, MODEL))
            thrown += 1
    waits = sorted(watched.waits)
    growth = (watched.most - before) / 1e6
    late = waits[-1 - len(waits) // 1000]  # a machine that does other things as well makes single ones wait
    print(f"seed {SEED}: {thrown} bombs, {growth:.0f} MB, /live {waits[len(waits) // 2]:.4f} to {late:.3f} s")
    assert thrown > seconds // 5
    assert growth < (GROWTH_MB if seconds < 60 else MANY_MB)
    assert late < LATE_SECONDS
    assert served.infer(MODEL).status == 200


def test_several_at_once_are_bounded_together(tmp_path: Path, served: Served) -> None:
    bombs = [
        bomb for bomb in one_of_each(MODEL) if bomb.name in ("rows that are right", "bars", "csv: rows", "numbers")
    ]
    before, statuses = served.memory, []

    def work(bomb: Bomb) -> None:
        with httpx.Client(base_url=served.address, timeout=60) as client:
            statuses.append(throw(client, bomb))

    threads = [threading.Thread(target=work, args=(bomb,)) for bomb in 4 * bombs]
    with watching(served) as watched:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(statuses) == len(threads)
    assert (watched.most - before) / 1e6 < 4 * GROWTH_MB
    assert served.infer(MODEL).status == 200
