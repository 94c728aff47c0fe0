"""Trainer `ludwig` on a Ray cluster: its nodes train the same tasks as the training processes of one machine.

It uses Ray Core only. Ludwig's own Ray backend is not used, because each of its workers acts as rank 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_cli.config.schemas.project import Training
from mlops_cli.errors import ConfigError, ServiceError, TrainingError
from mlops_cli.training.cluster.ray_cluster import TASK_BYTES, connected, devices, has_gpus, is_idle
from mlops_cli.training.cluster.ray_idle import PATIENCE_SECONDS, IdleWatch
from mlops_cli.training.cluster.ray_task import Returned, library_versions, train_task
from mlops_cli.training.tasks import TRIES, FleetSettings, Task, result_from_json, split_into_tasks, task_to_json
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob

SENT_AHEAD = 2  # tasks sent per device, so that a device has its next task as soon as it finishes one
SENT_BYTES = 256 * 2**20  # largest size of the feature tables of all sent tasks
POLL_SECONDS = 5.0
AGAIN = "run the command again: it goes on with the models that are left; `ray status` shows the nodes"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Sent:
    """A task that was sent to the cluster, with Ray's reference to the result of each job.

    Attributes:
        tries: 1 for the first try.
        size: bytes of its feature tables.
    """

    task: Task
    tries: int
    references: list[Any]
    size: int


class RayTrainer:
    """Trains with the real Ludwig on the nodes of a Ray cluster.

    Args:
        training: where the cluster is, and how much of it to use.
        fleets: how models train together. The device in it is replaced by what the cluster offers.
        libraries: releases that a node must have, by name of the library; None: those installed here.
        patience: seconds that the cluster may be idle although it has tasks, and that a result may take to arrive.
    """

    name = "ludwig"

    def __init__(
        self,
        training: Training,
        fleets: FleetSettings,
        libraries: Mapping[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._training = training
        self._patience = patience
        self._fleets = fleets
        self._libraries = library_versions() if libraries is None else libraries

    def fit(self, jobs: Sequence[TrainJob], progress: Progress) -> Iterator[Fitted | FailedJob]:
        """Train all jobs; if a worker dies, its jobs are retried once, one job or pool per task, then reported.

        Raises:
            ConfigError: Ray is missing, CUDA is requested and no node has it, or the strategy needs one machine.
            ServiceError: the cluster cannot be reached, was lost, has no node that is large enough, or stays idle.
        """
        if not jobs:
            return
        training = self._training
        if training.strategy in ("ddp", "fsdp"):
            raise ConfigError(
                f"training.strategy: {training.strategy} trains on the devices of this machine, not on a Ray cluster",
                "set training.executor: local, or another training.strategy",
            )
        progress("starting Ray" if training.ray_address is None else f"connecting to {training.ray_address}")
        with connected(training.ray_address, training.workers):
            fleets = replace(self._fleets, device="cuda" if self._uses_cuda() else "cpu")
            run = _ClusterRun(training, fleets, self._libraries, IdleWatch(self._patience), progress)
            yield from run.run(jobs)

    def _uses_cuda(self) -> bool:
        device = self._training.device
        if device == "cpu" or (device == "auto" and not self._fleets.together):
            return False
        gpus = has_gpus()
        if device == "cuda" and not gpus:
            raise ConfigError(
                "training.device: cuda was requested, but no node of the Ray cluster offers a GPU",
                "set training.device to auto or cpu; `ray status` shows what the nodes offer",
            )
        return gpus


class _ClusterRun:
    """The tasks of one `fit` on a connected cluster."""

    def __init__(
        self,
        training: Training,
        fleets: FleetSettings,
        libraries: Mapping[str, str],
        watch: IdleWatch,
        progress: Progress,
    ) -> None:
        import ray

        self._training = training
        self._watch = watch
        self._idle_times = 0
        self._fleets = fleets
        self._cuda = fleets.device == "cuda"
        self._progress = progress
        self._libraries = dict(libraries)
        self._waiting: deque[tuple[Task, int]] = deque()
        self._sent: dict[Any, _Sent] = {}  # by the first reference
        self._answered: set[Path] = set()  # folders of jobs
        self._train: Any = ray.remote(
            num_cpus=1,
            num_gpus=int(self._cuda),
            memory=TASK_BYTES,
            max_retries=0,  # `_again` retries, with one job per task
            scheduling_strategy="SPREAD",
        )(train_task)

    def run(self, jobs: Sequence[TrainJob]) -> Iterator[Fitted | FailedJob]:
        import ray

        self._waiting.extend((task, 1) for task in split_into_tasks(jobs, self._fleets, devices(self._cuda)))
        self._progress(
            f"{len(self._waiting)} tasks for the Ray cluster (importing Ludwig takes each process some 20 s)"
        )
        while self._waiting or self._sent:
            max_tasks = self._max_tasks()
            while self._waiting and self._has_room(max_tasks):
                self._send(*self._waiting.popleft())
            ready, _ = ray.wait(list(self._sent), num_returns=1, timeout=POLL_SECONDS)
            for first in ready:
                for result in self._receive(self._sent.pop(first)):
                    self._answered.add(result.job.folder)
                    yield result
            if self._watch.is_over(not ready and is_idle()):
                self._send_again()

    def _max_tasks(self) -> int:
        """Largest number of tasks to have on the cluster; it changes as the cluster grows and shrinks."""
        training = self._training
        max_tasks = SENT_AHEAD * devices(self._cuda)
        if training.workers is not None:
            max_tasks = min(max_tasks, training.workers)
        if training.memory_gb is not None:
            max_tasks = min(max_tasks, int(training.memory_gb * 1e9 // TASK_BYTES))
        return max(1, max_tasks)

    def _has_room(self, max_tasks: int) -> bool:
        if not self._sent:
            return True
        return len(self._sent) < max_tasks and sum(sent.size for sent in self._sent.values()) < SENT_BYTES

    def _send(self, task: Task, tries: int) -> None:
        import ray

        tables = [_table(job) for job in task.jobs]
        size = sum(len(table) for table in tables if table is not None)
        train = self._train.options(num_returns=len(tables))
        returned = train.remote(task_to_json(task), self._libraries, *(ray.put(table) for table in tables))
        references = returned if isinstance(returned, list) else [returned]
        self._sent[references[0]] = _Sent(task, tries, references, size)
        self._watch.restart()

    def _send_again(self) -> None:
        """Send the tasks again after the cluster was idle.

        A task waits for ever on its node if Ray in this process does not tell the node where its tables are. That
        happens if the end of an earlier connection broke Ray (see `connected`); then only a new process helps.

        Raises:
            ServiceError: tasks of this run were sent again before.
        """
        import ray

        idle = f"the Ray cluster was idle for {self._watch.patience:g} s, but {len(self._sent)} tasks are not done"
        self._idle_times += 1
        if self._idle_times == TRIES:
            raise ServiceError(f"{idle}; this happened before in this run, and tasks were sent again then", AGAIN)
        self._progress(f"{idle}: they are sent again")
        for first, sent in self._sent.items():
            ray.cancel(first)
            self._waiting.append((sent.task, sent.tries))
        self._sent.clear()

    def _receive(self, sent: _Sent) -> Iterator[Fitted | FailedJob]:
        """Yield the results of a finished task one by one, so that only one model at a time is in memory."""
        import ray

        lost: list[TrainJob] = []
        reason = ""
        nodes: dict[str, int] = {}
        for job, reference in zip(sent.task.jobs, sent.references, strict=True):
            if job.folder in self._answered:
                continue
            try:
                returned: Returned = ray.get(reference, timeout=self._watch.patience)
            except ray.exceptions.RayTaskError as error:  # the task raised an exception; a retry would raise it again
                yield FailedJob(job, f"{job.spec.name}: training failed: {_line(error, -1)}")
            except ray.exceptions.GetTimeoutError as error:
                late = (
                    f"a task on the Ray cluster ended, but its results did not arrive within {self._watch.patience:g} s"
                )
                raise ServiceError(late, AGAIN) from error
            except ray.exceptions.RayError as error:  # a process, a node or an object is gone
                lost.append(job)
                reason = _line(error, 0).split(". ")[0]
            else:
                nodes[returned.node] = nodes.get(returned.node, 0) + 1
                yield _write_result(job, returned)
        for node, models in nodes.items():
            self._progress(f"{models} models trained on node {node}")
        if lost:
            yield from self._again(sent, lost, reason)

    def _again(self, sent: _Sent, lost: list[TrainJob], reason: str) -> Iterator[FailedJob]:
        if sent.tries == TRIES:
            for job in lost:
                died = f"the training process on the cluster died {TRIES} times"
                yield FailedJob(job, f"{job.spec.name}: {died}: {reason}")
            return
        pool = sent.task.jobs[0].spec.pool  # a pool is retried whole: trained on a part of it, the model would differ
        left = sent.task if pool else replace(sent.task, jobs=tuple(lost))
        self._progress(f"a training process on the cluster died, {len(lost)} models are tried once more: {reason}")
        self._waiting.extend((task, sent.tries + 1) for task in left.alone())


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files that a node returned (content by relative path) below `folder`.

    Raises:
        TrainingError: a path leads out of the folder. Then no file is written.
    """
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise TrainingError(f"a node of the Ray cluster returned a file {name!r}, outside of the model folder")
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _table(job: TrainJob) -> bytes | None:
    try:
        return job.features.read_bytes()
    except OSError:
        return None  # the node reports it with the same message as the other trainers


def _write_result(job: TrainJob, returned: Returned) -> Fitted | FailedJob:
    try:
        write_files(job.folder, returned.files)
    except (TrainingError, OSError) as error:  # OSError: a full disk
        return FailedJob(job, f"{job.spec.name}: {error}")
    return result_from_json(job, returned.result)


def _line(error: BaseException, which: int) -> str:
    lines = str(error).strip().splitlines()
    return lines[which].strip() if lines else type(error).__name__
