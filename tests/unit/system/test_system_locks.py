"""A lock is held by one process at a time, and let go when that process ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mlops_cli.errors import ServiceError
from mlops_cli.system.locks import file_lock

BUSY = ServiceError("somebody else is at work", "wait")
HOLDER = """
import sys, time
from pathlib import Path
from mlops_cli.errors import ServiceError
from mlops_cli.system.locks import file_lock
with file_lock(Path(sys.argv[1]), ServiceError("busy", "")):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "a.lock"


def holder(lock: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_it_is_free_again_afterwards(lock: Path):
    for _ in range(2):
        with file_lock(lock, BUSY):
            assert lock.parent.is_dir()


def test_an_error_inside_lets_it_go(lock: Path):
    with pytest.raises(KeyError), file_lock(lock, BUSY):
        raise KeyError
    with file_lock(lock, BUSY):
        pass


def test_a_second_holder_is_refused_with_the_callers_words(lock: Path):
    with file_lock(lock, BUSY), pytest.raises(ServiceError) as told, file_lock(lock, BUSY):
        pytest.fail("held twice")
    assert told.value is BUSY


def test_it_waits_as_long_as_it_is_told_and_says_so_once(lock: Path):
    said: list[str] = []
    began = time.monotonic()
    waiting = file_lock(lock, BUSY, seconds=0.2, waiting=lambda: said.append("waiting"))
    with file_lock(lock, BUSY), pytest.raises(ServiceError), waiting:
        pytest.fail("held twice")
    assert said == ["waiting"]
    assert time.monotonic() - began >= 0.2


def test_nobody_is_told_to_wait_for_a_free_lock(lock: Path):
    with file_lock(lock, BUSY, seconds=5, waiting=lambda: pytest.fail("waited")):
        pass


def test_it_is_taken_as_soon_as_it_is_free(lock: Path):
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        with file_lock(lock, BUSY):
            taken.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    with file_lock(lock, BUSY, seconds=30, waiting=release.set):
        pass
    thread.join()


def test_a_killed_process_holds_it_no_longer(lock: Path):
    process = holder(lock)
    with pytest.raises(ServiceError), file_lock(lock, BUSY):
        pytest.fail("held twice")
    process.kill()
    process.wait()
    with file_lock(lock, BUSY):
        pass
