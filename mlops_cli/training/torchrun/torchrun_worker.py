"""One rank of a torchrun launch: imports Ludwig once, then trains task after task together with the other ranks.

Started by `TorchrunTrainer` as `torchrun … -m mlops_cli.training.torchrun.torchrun_worker TASKS RESULTS`. TASKS holds
one task a line (`tasks.task_to_json`). The ranks write lines of JSON to RESULTS: `{"begin": n}` when task n begins,
`{"task": n, "results": […]}` with one result per job, and `{"task": n, "alone": reason}` if this rank failed and the
others did not: then it ends, and torchrun ends the others. Environment variables, named below, hold other settings.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.training.process_settings import light_import, settle_arithmetic
from mlops_cli.training.tasks import result_to_json, task_from_json
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob

if TYPE_CHECKING:
    from mlops_cli.training.engine.ranks.ranks import Ranks

LIFELINE = "MLOPS_TORCHRUN_LIFELINE"  # a named pipe that the parent holds open
GRAPHS = "MLOPS_TORCHRUN_GRAPHS"  # folder of exported architectures
STRATEGY = "MLOPS_TORCHRUN_STRATEGY"  # ddp or fsdp
DEVICE = "MLOPS_TORCHRUN_DEVICE"  # cpu or cuda

FitTask = Callable[[Sequence[TrainJob]], list[Fitted | FailedJob]]


def main() -> None:
    """Train with Ludwig."""
    serve(_load_ludwig)


def serve(load: Callable[[], tuple[Ranks, FitTask]]) -> None:
    """Train the tasks of the first file and write results to the second; `load` returns the rank and how to fit."""
    watch_parent(Path(os.environ[LIFELINE]))
    tasks = [task_from_json(line).jobs for line in Path(sys.argv[1]).read_text().splitlines()]
    results = Path(sys.argv[2])
    ranks, fit = load()
    for number, task in enumerate(tasks):
        _train(ranks, fit, number, task, results)
    ranks.leave()


def watch_parent(lifeline: Path) -> None:
    """End this process as soon as the process at the other end of the pipe has ended, even if it was killed."""
    pipe = os.open(lifeline, os.O_RDONLY | os.O_NONBLOCK)  # blocking, it would wait forever if the parent has ended

    def wait() -> None:
        with contextlib.suppress(BlockingIOError):  # nothing to read: the other end is open
            os.read(pipe, 1)
            os._exit(0)
        os.set_blocking(pipe, True)
        os.read(pipe, 1)  # returns when the other end is closed: nothing is ever written
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _load_ludwig() -> tuple[Ranks, FitTask]:
    cuda = os.environ[DEVICE] == "cuda"
    settle_arithmetic()
    with light_import(cuda):
        from mlops_cli.training.engine.fit import prepare_process
        from mlops_cli.training.engine.ranks.backend import RankFitter
        from mlops_cli.training.engine.ranks.ranks import Ranks
        from mlops_cli.training.engine.work import fit_task

    prepare_process()
    ranks = Ranks(cuda)
    fitter = RankFitter(Path(os.environ[GRAPHS]), ranks, sharded=os.environ[STRATEGY] == "fsdp")
    return ranks, lambda task: fit_task(fitter, task)


def _train(ranks: Ranks, fit: FitTask, number: int, task: Sequence[TrainJob], results: Path) -> None:
    from mlops_cli.training.engine.ranks.ranks import AloneError

    writes = ranks.rank == 0
    if writes:
        _write(results, {"begin": number})
    try:
        fitted = fit(task)
        failure = _common_failure(task, fitted)
        failed = ranks.post("done", failure)
    except AloneError as error:
        _write(results, {"task": number, "alone": f"rank {ranks.rank}: {error}"})
        os._exit(1)  # not an exception: a normal exit leaves the process group, which would wait for the other ranks
    if writes:
        if failed and not failure:
            fitted = [FailedJob(job, f"{job.spec.name}: {failed}") for job in task]
        _write(results, {"task": number, "results": [result_to_json(result) for result in fitted]})


def _common_failure(task: Sequence[TrainJob], results: Sequence[Fitted | FailedJob]) -> str:
    """The reason why all jobs of a task failed on this rank; "" if not all of them failed."""
    failures = [result.reason for result in results if isinstance(result, FailedJob)]
    return failures[0] if len(failures) == len(task) else ""


def _write(results: Path, message: dict[str, Any]) -> None:
    # a single write, so that lines of different ranks do not mix
    line = (json.dumps(message) + "\n").encode()
    descriptor = os.open(results, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
