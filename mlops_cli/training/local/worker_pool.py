"""Training processes on this machine: as many as pay, taking tasks from one queue, the biggest first."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from mlops_cli.errors import TrainingError
from mlops_cli.training.local.worker_link import StoppedError, WorkerLink
from mlops_cli.training.tasks.tasks import Task, task_to_json

WORKER = (sys.executable, "-m", "mlops_cli.training.local.ludwig_worker")
WORKER_BYTES = 1.5e9  # of memory: Ludwig, and a fleet of usual size
WORTH_SECONDS = 30.0  # of work that must be left for a further process to pay its start
TRIES = 2


@dataclass(frozen=True)
class PoolSettings:
    """How the processes are kept.

    Attributes:
        graphs: folder of exported architectures.
        logs: folder that takes what each process prints.
        limit: most processes; None: one per physical core, or per GPU.
        memory: bytes that they may take in all; None: what the machine has free.
        gpus: numbers of the CUDA devices to use, one process each; empty: all on the CPU.
        home: folder of notes of processes that outlive this one; None: they end with it.
        owner: the process with which they end.
        command: how one is started.
    """

    graphs: Path
    logs: Path
    limit: int | None = None
    memory: float | None = None
    gpus: tuple[str, ...] = ()
    home: Path | None = None
    owner: int = field(default_factory=os.getpid)
    command: Sequence[str] = WORKER


@dataclass(frozen=True)
class Died:
    """A task whose process died over it as often as it was tried."""

    task: Task
    reason: str


class WorkerPool:
    """Runs tasks; use once.

    Args:
        settings: how.
        progress: told what is being done.
    """

    def __init__(self, settings: PoolSettings, progress: Callable[[str], None]) -> None:
        self._settings = settings
        self._progress = progress
        self._tasks: queue.SimpleQueue[tuple[Task, int]] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._open = 0  # tasks that are not finished
        self._answered: set[str] = set()  # folders of jobs that have a result

    def run(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any] | Died]:
        """Give every task to a process; yields each result as it comes, and tasks that cannot be finished.

        A task over which a process died is tried once more, each of its jobs alone, in a new process.

        Raises:
            TrainingError: no process starts.
        """
        for task in tasks:
            self._tasks.put((task, 1))
        self._open = len(tasks)
        with ExitStack() as stack:
            home = self._settings.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlops-pool-")))
            slots = [
                threading.Thread(target=self._slot, args=(number, home), daemon=True)
                for number in range(self._slots(tasks))
            ]
            stack.callback(self._end, slots)
            for slot in slots:
                slot.start()
            yield from self._hear(len(slots))

    def _hear(self, running: int) -> Iterator[dict[str, Any] | Died]:
        refusal: TrainingError | None = None
        while running:
            heard = self._heard.get()
            if heard is None:
                running -= 1
            elif isinstance(heard, TrainingError):
                refusal = heard
            else:
                yield heard
        if self._open and not self._ended.is_set():  # else the others did the share of a process that was lost
            raise refusal or TrainingError(f"{self._open} tasks were left undone", "run it again: what is done is kept")

    def _end(self, slots: Sequence[threading.Thread]) -> None:
        self._ended.set()
        for slot in slots:
            slot.join()

    def _slots(self, tasks: Sequence[Task]) -> int:
        """How many processes pay and fit."""
        settings = self._settings
        cores = psutil.cpu_count(logical=False) or 1
        if hasattr(os, "sched_getaffinity"):
            cores = min(cores, len(os.sched_getaffinity(0)))
        most = settings.limit or len(settings.gpus) or cores
        # kept processes have theirs already
        kept = len(list(settings.home.glob("*.json"))) if settings.home else 0
        memory = settings.memory or psutil.virtual_memory().available + kept * WORKER_BYTES
        worth = sum(task.seconds for task in tasks) // WORTH_SECONDS
        paid = len(tasks) if settings.limit or settings.gpus else 1 + int(worth)
        return max(1, min(most, len(tasks), paid, int(memory // WORKER_BYTES)))

    def _slot(self, number: int, home: Path) -> None:
        """One process after another, as long as there are tasks."""
        link: WorkerLink | None = None
        item: tuple[Task, int] | None = None
        try:
            while (item := self._next()) is not None:
                task, tries = item
                link = link or self._link(number, home)
                if not link.ask(task_to_json(task), self._tell, lambda: not self._ended.is_set()):
                    words, dead, link = link.last_words(), link, None
                    dead.stop()
                    self._again(task, tries, words)
                self._close_one()
        except StoppedError:
            pass
        except TrainingError as error:
            self._heard.put(error)
        except (
            OSError,
            psutil.Error,
            ValueError,
            LookupError,
            TypeError,
        ) as error:  # no memory, a full disk, a bad note
            self._heard.put(TrainingError(f"a training process could not be kept: {type(error).__name__}: {error}"))
        finally:
            if item is not None:
                self._tasks.put(item)  # for the others
            self._let_go(link, finished=item is None)
            self._heard.put(None)

    def _let_go(self, link: WorkerLink | None, finished: bool) -> None:
        if link is None:
            return
        with contextlib.suppress(OSError, psutil.Error):  # it is not ours any more, or it is gone
            if finished and self._settings.home and not self._ended.is_set():
                link.leave()
            else:
                link.stop()

    def _next(self) -> tuple[Task, int] | None:
        """The next task; waits while others are at work, as a task may come back from a process that died."""
        while not self._ended.is_set():
            with self._lock:
                if not self._open:
                    return None
            try:
                return self._tasks.get(timeout=0.1)
            except queue.Empty:
                continue
        return None

    def _close_one(self) -> None:
        with self._lock:
            self._open -= 1

    def _again(self, task: Task, tries: int, words: str) -> None:
        left = self._left(task)
        # what is left of a pool would train another model
        if tries == TRIES or (task.jobs[0].spec.pool and len(left.jobs) < len(task.jobs)):
            self._heard.put(Died(left, words))
            return
        again = left.alone() if left.jobs else []
        with self._lock:
            self._open += len(again)
        for one in again:
            self._tasks.put((one, tries + 1))

    def _left(self, task: Task) -> Task:
        """The jobs of a task of which nothing was heard; what a dead process left in their folders is removed."""
        jobs = tuple(job for job in task.jobs if str(job.folder) not in self._answered)
        for job in jobs:
            shutil.rmtree(job.folder, ignore_errors=True)
            job.folder.mkdir(parents=True, exist_ok=True)
        return Task(jobs, task.settings, task.seconds)

    def _link(self, number: int, home: Path) -> WorkerLink:
        """A process that is kept already, or a new one."""
        settings = self._settings
        gpu = settings.gpus[number % len(settings.gpus)] if settings.gpus else ""
        note = home / f"worker-{number}{f'-gpu{gpu}' if gpu else ''}.json"
        log = settings.logs / f"ludwig-{number}.log"
        known = WorkerLink.find(note, log) if note.exists() else None
        if known is not None:
            return known
        self._progress("starting a training process (importing Ludwig takes some 20 s)")
        command = [*settings.command, str(settings.graphs), str(note), str(settings.owner)]
        environment = {"CUDA_VISIBLE_DEVICES": gpu}
        return WorkerLink.start(command, note, log, environment, lambda: not self._ended.is_set())

    def _tell(self, answer: dict[str, Any]) -> None:
        if "doing" in answer:
            self._progress(answer["doing"])
        elif "result" in answer and answer["result"]["folder"] not in self._answered:
            self._answered.add(answer["result"]["folder"])
            self._heard.put(answer["result"])
