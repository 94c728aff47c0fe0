"""Run child processes with a time limit, measure their time and memory, and end them with all their children."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.1
GRACE_SECONDS = 10
TAIL_LINES = 20


class BenchError(Exception):
    """A child failed, or the two sides of a comparison did not do the same work."""


@dataclass(frozen=True)
class Measured:
    """Time and memory of one child process.

    Attributes:
        wall: seconds from start to end.
        cpu: user and system seconds of the process and of the children it waited for.
        tree_bytes: largest sampled sum of resident memory over its process tree; a shared page counts once for each
            process that maps it. 0 if memory was not measured.
        largest_bytes: largest sampled resident memory of a single process of the tree. This is not the kernel's
            `ru_maxrss`, in which a child inherits the size of its parent.
        output: its stdout and stderr together.
    """

    wall: float
    cpu: float
    tree_bytes: int
    largest_bytes: int
    output: str


def clean_environment(binaries: Path, **changes: str) -> dict[str, str]:
    """The environment of this process without settings of the measured tools; equal for all sides of a comparison.

    Args:
        binaries: folder to put first on the PATH.
        changes: variables to add or replace.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "MLFLOW_", "ALPACA_"))
    }
    identity = {f"GIT_{who}_{what}": "bench" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {
        **inherited,
        **identity,
        "PATH": os.pathsep.join([str(binaries), os.environ.get("PATH", "")]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",  # both sides train on the CPU
        "HF_HUB_OFFLINE": "1",
        "MLOPS_TRACKING": "off",
        **changes,
    }


def measure(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    log: Path,
    environment: Mapping[str, str],
    seconds: float = 600,
    memory: bool = False,
) -> Measured:
    """Run a command to its end.

    Args:
        command: program and arguments.
        cwd: working folder.
        log: file for its output; replaced.
        environment: all of its environment variables.
        seconds: time limit, after which it is killed with all its children.
        memory: sample its tree. This costs a few milliseconds ten times a second, so do not use it for short commands.

    Raises:
        BenchError: it ended with a code other than 0, or took too long.
    """
    killed: list[psutil.Process] = []
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its own process group, so that the whole group can be ended
        )
    sampler = _Sampler(process.pid) if memory else None

    def kill() -> None:
        killed.extend(_tree(process.pid))
        _signal_group(process.pid, signal.SIGKILL)

    killer = threading.Timer(seconds, kill)
    killer.daemon = True
    try:
        killer.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    except BaseException:
        end_tree(process.pid)
        process.wait()  # already reaped by psutil; Popen must learn the exit code
        raise
    finally:
        killer.cancel()
        tree_bytes, largest_bytes = sampler.stop() if sampler else (0, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    psutil.wait_procs(killed, timeout=GRACE_SECONDS)
    _check(command, process.returncode, seconds if killed else None, log)
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(wall, cpu, tree_bytes, largest_bytes, log.read_text(errors="replace"))


def _check(command: Sequence[str | Path], code: int, late_after: float | None, log: Path) -> None:
    if code == 0:
        return
    how = f"ended with code {code}" if late_after is None else f"took over {late_after:g} s"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
    raise BenchError(f"{' '.join(str(part) for part in command)}\n{how}; its last lines:\n{tail}")


class _Sampler:
    """Samples the resident memory of a process tree until it is stopped."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._tree = self._largest = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[int, int]:
        """Stop. Returns the largest sum and the largest single process, in bytes."""
        self._over.set()
        self._thread.join()
        return self._tree, self._largest

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            sizes = [_resident(process) for process in _tree(self._pid)]
            self._tree, self._largest = max(self._tree, sum(sizes)), max(self._largest, *sizes, 0)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def end_tree(pid: int) -> None:
    """Terminate the process tree, then kill what is left: nothing may go on running when the benchmark is stopped."""
    tree = _tree(pid)
    _signal_group(pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(tree, timeout=GRACE_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)
