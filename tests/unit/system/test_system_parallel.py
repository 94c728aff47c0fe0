"""Many items in several processes: order, failures, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from mlops_cli.errors import DataError, ServiceError
from mlops_cli.system.parallel import ITEMS_PER_WORKER, MOST_WORKERS, each, worker_count
from tests.fakes import parallel_work as work

ROOT = Path(__file__).resolve().parents[3]
SECONDS_TO_DIE = 10

several_cores = pytest.mark.skipif(
    worker_count(2, work.LARGE) == 1, reason="one core: everything is done in this process"
)


@pytest.mark.parametrize("size", [work.LARGE, 1], ids=["processes", "this process"])
class TestBothWays:
    def test_results_come_in_order(self, size: int) -> None:
        assert list(each(work.square, range(50), size)) == [number**2 for number in range(50)]

    def test_one_failure_is_a_result_and_the_others_go_on(self, size: int) -> None:
        results = list(each(work.odd_only, range(10), size))
        assert results[1::2] == [1, 3, 5, 7, 9]
        for number, error in zip(range(0, 10, 2), results[::2], strict=True):
            assert isinstance(error, DataError)
            assert (error.message, error.hint, error.exit_code) == (f"T{number}: even", "give odd numbers", 4)

    def test_a_bug_is_raised(self, size: int) -> None:
        with pytest.raises(ZeroDivisionError):
            list(each(work.buggy, range(10), size))

    def test_who_stops_listening_stops_the_work(self, size: int, tmp_path: Path) -> None:
        results = each(partial(work.begun, tmp_path), range(200), size)
        assert next(results) == 0
        results.close()
        done = len(list(tmp_path.iterdir()))
        assert done < 150
        time.sleep(0.2)
        assert len(list(tmp_path.iterdir())) == done, "nothing goes on behind"

    def test_no_items(self, size: int) -> None:
        assert list(each(work.square, [], size)) == []


def test_few_items_are_done_here() -> None:
    assert set(each(work.process_of, range(20))) == {os.getpid()}


@several_cores
def test_many_items_are_done_elsewhere() -> None:
    processes = set(each(work.process_of, range(100), work.LARGE))
    assert len(processes) > 1
    assert os.getpid() not in processes


def test_as_many_processes_as_pay_and_as_there_are_cores() -> None:
    cores = len(psutil.Process().cpu_affinity() or [])
    assert worker_count(0) == worker_count(2 * ITEMS_PER_WORKER - 1) == 1
    assert worker_count(2 * ITEMS_PER_WORKER) == min(2, cores)
    assert worker_count(10**6) == min(cores, MOST_WORKERS)
    assert worker_count(1, work.LARGE) == 1
    assert worker_count(2, work.LARGE) == min(2, cores)


@several_cores
def test_a_dead_process_is_told_and_nothing_hangs() -> None:
    with pytest.raises(ServiceError, match="a worker process died"):
        list(each(work.dies, range(50), work.LARGE))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """The program of `parallel_work` in a process group of its own, when its workers are at work."""
    command = [sys.executable, "-m", "tests.fakes.parallel_work", str(tmp_path)]
    program = subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    below: list[psutil.Process] = []
    try:
        while not any(tmp_path.iterdir()):
            assert program.poll() is None, program.communicate()
            time.sleep(0.02)
        below = psutil.Process(program.pid).children(recursive=True)
        yield program, below
    finally:
        program.kill()
        program.communicate()
        for process in psutil.wait_procs(below, 0)[1]:
            process.kill()


@several_cores
def test_kill_9_leaves_no_process(running: tuple[subprocess.Popen[str], list[psutil.Process]]) -> None:
    program, below = running
    assert len(below) >= 2
    program.kill()
    assert psutil.wait_procs(below, SECONDS_TO_DIE)[1] == []


@several_cores
def test_ctrl_c_of_a_terminal_ends_all_without_a_word(
    running: tuple[subprocess.Popen[str], list[psutil.Process]], tmp_path: Path
) -> None:
    program, below = running
    os.killpg(program.pid, signal.SIGINT)
    assert program.communicate(timeout=SECONDS_TO_DIE) == ("stopped\n", "")
    assert program.returncode == work.STOPPED
    assert psutil.wait_procs(below, SECONDS_TO_DIE)[1] == []
    assert len(list(tmp_path.iterdir())) < 500
