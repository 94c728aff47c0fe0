"""Trainer over several devices of this machine: torchrun starts one process (rank) per device, all train one model."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from mlops_cli.errors import ConfigError, TrainingError
from mlops_cli.training.local.cuda_devices import count_cuda_devices, no_cuda_device
from mlops_cli.training.tasks import TRIES, FleetSettings, Task, empty_folders, group_tasks, result_from_json
from mlops_cli.training.torchrun.torchrun_launch import WORKER, Launch, Setting
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob

LOG_TAIL = 3
_SIGNAL = re.compile(r"Signal \d+ \((?!SIGTERM)SIG\w+\) received")  # with SIGTERM torchrun itself ends the others
_ERROR = re.compile(r"^(?:\[rank\d+\]: )?((?!.*ChildFailed)[\w.]+(?:Error|Exception): .*)$", re.MULTILINE)
_EXIT = re.compile(r"exitcode *: *-?\d+")


@dataclass(frozen=True)
class Devices:
    """The devices of a training.

    Attributes:
        strategy: ddp: a copy of the model per process; fsdp: a part of it per process.
        device: auto: CUDA if there is a device.
        processes: number of ranks; None: one per CUDA device, or one per physical core without CUDA.
        port: where the ranks meet on this machine; None: a free port.
    """

    strategy: Literal["ddp", "fsdp"] = "ddp"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int | None = None
    port: int | None = None


class TorchrunTrainer:
    """Trains with Ludwig; each model, or each pool, trains in several processes at once.

    Args:
        log: file for the output of the processes; each launch overwrites it.
        graphs: folder of exported architectures, kept between runs.
        devices: the devices to train on.
        worker: arguments of Python in every rank.
    """

    name = "ludwig"

    def __init__(self, log: Path, graphs: Path, devices: Devices, worker: Sequence[str] = WORKER) -> None:
        self._log = log
        self._graphs = graphs
        self._devices = devices
        self._worker = worker

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        """Train all jobs. If a process dies, the task it trained is tried once more, then reported as failed.

        Raises:
            ConfigError: more devices are asked for than there are, or the port is taken.
            TrainingError: the processes do not start.
        """
        if not jobs:
            return
        setting = self._setting()
        how = FleetSettings(together=False, device=setting.device)
        waiting = [Task(tuple(group), how, seconds=0.0) for group in group_tasks(jobs)]
        deaths = 0
        while waiting:
            progress(f"starting {setting.processes} training processes (importing Ludwig takes some 20 s)")
            with Launch(setting, waiting, self._log) as launch:
                before = len(waiting)
                alone = yield from _follow(launch, waiting, progress)
                if not waiting:
                    return
                if not launch.started:
                    message = f"the training processes did not start: {_last_words(launch)}"
                    raise TrainingError(message, f"their whole output is in {self._log}")
                deaths = 1 if len(waiting) < before else deaths + 1
                words = alone or _last_words(launch)
                if deaths == TRIES:
                    for job in waiting.pop(0).jobs:
                        yield FailedJob(job, f"{job.spec.name}: a training process died {TRIES} times: {words}")
                    deaths = 0
                else:
                    progress(f"a training process died over {waiting[0].jobs[0].spec.name}: {words}")
                    empty_folders(waiting[0].jobs)

    def _setting(self) -> Setting:
        asked = self._devices
        cuda = 0 if asked.device == "cpu" else count_cuda_devices()
        if asked.device == "cuda" and not cuda:
            raise no_cuda_device()
        processes = count_processes(asked.processes, cuda)
        if asked.port is not None:
            _check_free(asked.port)
        return Setting(asked.strategy, "cuda" if cuda else "cpu", processes, self._graphs, asked.port, self._worker)


def count_processes(asked: int | None, cuda: int) -> int:
    """Number of ranks: `asked`, or one per CUDA device, or one per physical core if `cuda` is 0.

    Raises:
        ConfigError: there are fewer CUDA devices than ranks.
    """
    processes = asked or cuda or psutil.cpu_count(logical=False) or 1
    if cuda and processes > cuda:
        raise ConfigError(
            f"{processes} training processes asked for, but there are {cuda} CUDA devices, one for each",
            f"ask for {cuda} or fewer, or set training.device to cpu",
        )
    return processes


def _follow(
    launch: Launch, waiting: list[Task], progress: Callable[[str], None]
) -> Generator[Fitted | FailedJob, None, str]:
    """Yield results, remove their tasks from `waiting`, and return why a rank failed alone; "" if none did."""
    alone = ""
    for message in launch.messages():
        if "begin" in message:
            for job in waiting[0].jobs:
                progress(f"training {job.spec.name}")
        elif "alone" in message:
            alone = message["alone"]
        else:
            jobs = {str(job.folder): job for job in waiting.pop(0).jobs}
            for result in message["results"]:
                yield result_from_json(jobs[result["folder"]], result)
    return alone


def _last_words(launch: Launch) -> str:
    """Find the reason of a failure in the output of a launch; torchrun prints a page about itself besides."""
    text = launch.output()
    reasons = _SIGNAL.findall(text) or _ERROR.findall(text) or _EXIT.findall(text)
    return reasons[0] if reasons else " | ".join(text.strip().splitlines()[-LOG_TAIL:]) or "without a word"


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"port {port} of this machine cannot be used by the training processes: {error.strerror}",
                "give another one, or none: then a free one is taken",
            ) from error
