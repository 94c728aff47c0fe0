"""A process learns that another one has ended, however that happened."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import psutil
import pytest

from mlops_cli.system.lifetime import call_when_ended

SOON = 10.0  # seconds: watching is at most half a second late, and the machine may be busy


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def test_a_killed_process_is_noticed_before_it_is_reaped(process: subprocess.Popen[bytes]):
    gone = threading.Event()
    call_when_ended([process.pid], gone.set)
    assert not gone.wait(0.1)
    process.kill()  # a zombie until `wait`
    assert gone.wait(SOON)


def test_any_of_several_is_enough(process: subprocess.Popen[bytes]):
    gone = threading.Event()
    call_when_ended([psutil.Process(), process.pid], gone.set)
    assert not gone.wait(0.1)
    process.kill()
    assert gone.wait(SOON)


def test_one_that_was_gone_before_is_noticed(process: subprocess.Popen[bytes]):
    process.kill()
    process.wait()
    gone = threading.Event()
    call_when_ended([process.pid], gone.set)
    assert gone.wait(SOON)


def test_no_longer_needed_is_as_good_as_gone():
    needed, gone = threading.Event(), threading.Event()
    needed.set()
    call_when_ended([os.getpid()], gone.set, needed.is_set)
    assert not gone.wait(0.1)
    needed.clear()
    assert gone.wait(SOON)


def test_it_is_said_once(process: subprocess.Popen[bytes]):
    calls: list[int] = []
    gone = threading.Event()

    def act() -> None:
        calls.append(1)
        gone.set()

    call_when_ended([process.pid], act)
    process.kill()
    assert gone.wait(SOON)
    assert not threading.Event().wait(0.6)
    assert calls == [1]


def test_watching_keeps_no_process_alive():
    imports = "import os; from mlops_cli.system.lifetime import call_when_ended"
    program = f"{imports}; call_when_ended([os.getppid()], lambda: None)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_a_child_that_knows_nothing_of_it_ends_with_its_killed_parent():
    program = (
        "import subprocess, sys, time\n"
        "from mlops_cli.system.lifetime import end_with_parent\n"
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=end_with_parent())\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs([child], timeout=5)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
