"""Training processes on this machine, which take tasks from one queue."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from mlops_cli.errors import TrainingError
from mlops_cli.training.local.worker_link import StoppedError, WorkerLink
from mlops_cli.training.tasks import TRIES, Task, empty_folders, task_to_json

WORKER = (sys.executable, "-m", "mlops_cli.training.local.ludwig_worker")
WORKER_BYTES = 1.5e9  # memory of a process: Ludwig and a fleet of usual size
WORTH_SECONDS = 30.0  # one more process is started for every 30 s of estimated work


@dataclass(frozen=True)
class WorkerSettings:
    """How training processes are started and kept.

    Attributes:
        graphs: folder of exported architectures.
        logs: folder of the output of each process.
        limit: largest number of processes; None: one per physical core, or per GPU.
        memory: bytes that all processes together may use; None: the free memory of the machine.
        gpus: names of the CUDA devices, one process for each; empty: train on the CPU.
        home: folder of notes with the addresses of processes, which are kept for later; None: they end after `run`.
        owner: process id; the processes end when this process ends.
        command: command that starts a process.
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
class WorkerDied:
    """A task that is given up: `TRIES` processes died while they trained it."""

    task: Task
    reason: str


class Workers:
    """Runs tasks in training processes. An instance is used once."""

    def __init__(self, settings: WorkerSettings, progress: Callable[[str], None]) -> None:
        self._settings = settings
        self._progress = progress
        self._tasks: queue.SimpleQueue[tuple[Task, int]] = queue.SimpleQueue()
        self._heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._open = 0  # number of unfinished tasks
        self._answered: set[str] = set()  # folders of jobs that have a result

    def run(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any] | WorkerDied]:
        """Train all tasks and yield results (`tasks.result_to_json`) as they come.

        If a process dies, the unfinished jobs of its task are tried once more in a new process, each alone.

        Raises:
            TrainingError: no process could be started.
        """
        for task in tasks:
            self._tasks.put((task, 1))
        self._open = len(tasks)
        with ExitStack() as stack:
            home = Path(self._settings.home or stack.enter_context(TemporaryDirectory(prefix="mlops-workers-")))
            numbers = range(self._slots(tasks))
            slots = [threading.Thread(target=self._slot, args=(number, home), daemon=True) for number in numbers]
            stack.callback(self._end, slots)
            for slot in slots:
                slot.start()
            yield from self._hear(len(slots))

    def _hear(self, running: int) -> Iterator[dict[str, Any] | WorkerDied]:
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
        """Number of processes to use: it follows from the work, the cores or GPUs, and the memory."""
        settings = self._settings
        cores = psutil.cpu_count(logical=False) or 1
        if hasattr(os, "sched_getaffinity"):
            cores = min(cores, len(os.sched_getaffinity(0)))
        most = settings.limit or len(settings.gpus) or cores
        # kept processes have theirs already
        running = len(list(settings.home.glob("*.json"))) if settings.home else 0
        memory = settings.memory or psutil.virtual_memory().available + running * WORKER_BYTES
        useful = 1 + int(sum(task.seconds for task in tasks) // WORTH_SECONDS)
        by_work = len(tasks) if settings.limit or settings.gpus else useful
        return max(1, min(most, len(tasks), by_work, int(memory // WORKER_BYTES)))

    def _slot(self, number: int, home: Path) -> None:
        """Run tasks in a process, which is replaced if it dies, until no task is left."""
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
                with self._lock:
                    self._open -= 1
        except StoppedError:
            pass
        except TrainingError as error:
            self._heard.put(error)
        except (OSError, psutil.Error, ValueError, LookupError, TypeError) as error:  # e.g. no memory, a full disk
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
        """Take the next task. Waits while other processes work: if one dies, its task returns to the queue."""
        while not self._ended.is_set():
            with self._lock:
                if not self._open:
                    return None
            try:
                return self._tasks.get(timeout=0.1)
            except queue.Empty:
                continue
        return None

    def _again(self, task: Task, tries: int, words: str) -> None:
        left = self._left(task)
        # what is left of a pool would train another model
        if tries == TRIES or (task.jobs[0].spec.pool and len(left.jobs) < len(task.jobs)):
            self._heard.put(WorkerDied(left, words))
            return
        again = left.alone() if left.jobs else []
        with self._lock:
            self._open += len(again)
        for retried in again:
            self._tasks.put((retried, tries + 1))

    def _left(self, task: Task) -> Task:
        """The jobs of a task without a result. Files that the dead process left in their folders are removed."""
        jobs = tuple(job for job in task.jobs if str(job.folder) not in self._answered)
        empty_folders(jobs)
        return Task(jobs, task.settings, task.seconds)

    def _link(self, number: int, home: Path) -> WorkerLink:
        """Connect to a process that was kept, or start a new one."""
        settings = self._settings
        gpu = settings.gpus[number % len(settings.gpus)] if settings.gpus else ""
        note = home / f"worker-{number}{f'-gpu{gpu}' if gpu else ''}.json"
        log = settings.logs / f"ludwig-{number}.log"
        running = WorkerLink.find(note, log) if note.exists() else None
        if running is not None:
            return running
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
