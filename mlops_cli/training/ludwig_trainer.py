"""Trainer `ludwig`: a worker process that imports Ludwig once and trains job after job."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlops_cli.errors import TrainingError
from mlops_cli.training.trainer import Failed, Fitted, TrainJob
from mlops_cli.training.wire import job_to_json

WORKER = (sys.executable, "-m", "mlops_cli.training.ludwig_worker")
TRIES = 2
LOG_TAIL = 5
ENDING_SECONDS = 10


class LudwigTrainer:
    """Trains with the real Ludwig, one model after another, in one process of its own.

    Args:
        log: file that takes what the worker prints (Ludwig's own notes); overwritten by each worker.
        graphs: folder that keeps exported architectures between runs.
        command: how the worker is started; tests put their own here.
    """

    name = "ludwig"

    def __init__(self, log: Path, graphs: Path, command: Sequence[str] = WORKER) -> None:
        self._log = log
        self._command = [*command, str(graphs)]

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | Failed]:
        """Train all jobs; a worker that dies is replaced and its job tried once more, then reported."""
        waiting = list(jobs)
        deaths = 0
        while waiting:
            progress("starting the training process (importing Ludwig takes some 20 s)")
            worker = _Worker(self._command, self._log)
            try:
                worker.wait_until_ready()
                while waiting:
                    progress(f"training {waiting[0].spec.name}")
                    answer = worker.ask(waiting[0])
                    if answer is None:
                        break
                    deaths = 0
                    yield _result(waiting.pop(0), answer)
            finally:
                worker.stop()
            if not waiting:
                return
            deaths += 1
            if deaths == TRIES:
                deaths = 0
                yield Failed(waiting.pop(0), f"the training process died {TRIES} times: {worker.last_words()}")
            else:
                _empty(waiting[0].folder)


def _result(job: TrainJob, answer: dict[str, Any]) -> Fitted | Failed:
    if "failed" in answer:
        return Failed(job, answer["failed"], answer["exit_code"])
    return Fitted(job, answer["epochs"], answer["facts"])


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


class _Worker:
    """A running training process; talks in lines of JSON."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        # one thread and no GPU: one small model at a time gains nothing from either, and stays the same to the bit
        # HF_HUB_OFFLINE: nothing is ever fetched while training
        settings = {
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "TQDM_DISABLE": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONWARNINGS": "ignore",
        }
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, **settings},
            )

    def wait_until_ready(self) -> None:
        """Wait for Ludwig to be imported.

        Raises:
            TrainingError: the process ended instead.
        """
        if self._read() is None:
            self.stop()
            raise TrainingError(
                f"the training process did not start: {self.last_words()}", f"its whole output is in {self._log}"
            )

    def ask(self, job: TrainJob) -> dict[str, Any] | None:
        """Train one job; None when the process died over it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(job_to_json(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        return self._read()

    def stop(self) -> None:
        """End the process and wait for it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone already, and what it had not read with it
            self._process.stdin.close()
        try:
            self._process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def last_words(self) -> str:
        """How it ended, and the end of what it printed; to be asked after `stop`."""
        code = self._process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        lines = self._log.read_text(errors="replace").strip().splitlines()[-LOG_TAIL:]
        return f"{how}; {' | '.join(lines)}" if lines else how

    def _read(self) -> dict[str, Any] | None:
        """The next answer; None when the process ended, be it in the middle of a line."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(json.JSONDecodeError):  # something that a library printed is no answer
                answer = json.loads(line)
                if isinstance(answer, dict):
                    return answer
        # before `stop` closes its input, on which it would end with another exit code than its own
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_SECONDS)
        return None
