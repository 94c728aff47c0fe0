"""Trainer over several devices of this machine: torchrun starts one process (rank) per device, all train one model."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from mlops_cli.errors import ConfigError, TrainingError
from mlops_cli.training.local.cuda_devices import count_cuda_devices, no_cuda_device_error
from mlops_cli.training.process_settings import PROCESS_SETTINGS
from mlops_cli.training.tasks import (
    TRIES,
    FleetSettings,
    Task,
    empty_folders,
    group_tasks,
    result_from_json,
    task_to_json,
)
from mlops_cli.training.torchrun.torchrun_worker import DEVICE, GRAPHS, LIFELINE, STRATEGY
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob

WORKER = ("-m", "mlops_cli.training.torchrun.torchrun_worker")
POLL_SECONDS = 0.05
SHUTDOWN_SECONDS = 10
# variables of an outer launch, e.g. by a batch system, which torchrun would take as its own options
OUTER_LAUNCH_VARIABLES = (
    "PET_",
    "TORCHELASTIC_",
    "MASTER_",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
)
LOG_TAIL = 3
_SIGNAL = re.compile(r"Signal \d+ \((?!SIGTERM)SIG\w+\) received")  # torchrun ends other ranks with SIGTERM
_ERROR = re.compile(r"^(?:\[rank\d+\]: )?((?!.*ChildFailed)[\w.]+(?:Error|Exception): .*)$", re.MULTILINE)
_EXIT = re.compile(r"exitcode *: *-?\d+")


@dataclass(frozen=True)
class LaunchSettings:
    """Settings of a launch. `processes` is the number of ranks; for the rest see `Devices` and `TorchrunTrainer`."""

    strategy: Literal["ddp", "fsdp"]
    device: Literal["cpu", "cuda"]
    processes: int
    graphs: Path
    port: int | None
    worker: Sequence[str]


class Launch:
    """A running torchrun that trains `tasks` in their order. When the context ends, all its processes have ended.

    torchrun starts each rank in a new session, so a signal to its process group does not reach them. Instead
    each rank reads from a named pipe that only this process holds open. When this process ends, also by SIGKILL, the
    pipe closes and the ranks end.
    """

    def __init__(self, setting: LaunchSettings, tasks: Sequence[Task], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._folder = Path(tempfile.mkdtemp(prefix="mlops-torchrun-"))
        self._results = self._folder / "results"
        self._results.touch()
        listed = self._folder / "tasks"
        listed.write_text("".join(task_to_json(task) + "\n" for task in tasks))
        lifeline = self._folder / "lifeline"
        os.mkfifo(lifeline)
        self._lifeline = os.open(lifeline, os.O_RDWR)  # opening only for writing would wait for a reader
        # a separate file per rank, because the common log mixes the lines of all ranks
        self._ranks = self._folder / "ranks"
        options = [*launch_options(setting), "--tee=3", f"--log-dir={self._ranks}"]
        command = [sys.executable, "-m", "torch.distributed.run", *options, *setting.worker]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, str(listed), str(self._results)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=launch_environment(setting, lifeline, os.environ),
                start_new_session=True,  # the parent handles Ctrl-C
            )
        self.started = False

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._lifeline)  # ends the ranks, and torchrun after them
        try:
            self._process.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield the messages of the ranks (see `torchrun_worker`) until torchrun has ended."""
        with self._results.open() as results:
            part = ""
            while True:
                ended = self._process.poll() is not None
                text = results.read()
                *lines, part = (part + text).split("\n")
                for line in lines:
                    self.started = True
                    yield json.loads(line)
                if ended and not text:
                    return
                if not text:
                    time.sleep(POLL_SECONDS)

    def output(self) -> str:
        """The output so far, of each rank and of torchrun."""
        files = [*sorted(self._ranks.glob("**/std*.log")), self._log]
        return "\n".join(path.read_text(errors="replace") for path in files)


def launch_options(setting: LaunchSettings) -> list[str]:
    """Options of torchrun: the rendezvous address of the ranks, and their number."""
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{setting.port}"] if setting.port else ["--standalone"]
    # local-addr is set because the host name of this machine may not resolve
    return [*meeting, "--local-addr=127.0.0.1", "--nnodes=1", f"--nproc-per-node={setting.processes}"]


def launch_environment(setting: LaunchSettings, lifeline: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment of torchrun and its ranks: `inherited`, without the variables of a launch around this one.

    `lifeline` is the named pipe that this process holds open.
    """
    own = {name: value for name, value in inherited.items() if not name.startswith(OUTER_LAUNCH_VARIABLES)}
    if setting.device == "cpu":
        own["CUDA_VISIBLE_DEVICES"] = ""
    return {
        **own,
        **PROCESS_SETTINGS,
        "GLOO_SOCKET_IFNAME": "lo",
        LIFELINE: str(lifeline),
        GRAPHS: str(setting.graphs),
        STRATEGY: setting.strategy,
        DEVICE: setting.device,
    }


@dataclass(frozen=True)
class Devices:
    """The devices of a training.

    Attributes:
        strategy: ddp: a copy of the model per process; fsdp: a part of it per process.
        device: auto: CUDA if there is a device.
        processes: number of ranks; None: one per CUDA device, or one per physical core without CUDA.
        port: port of the rendezvous of the ranks on this machine; None: a free port.
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
        """Train all jobs. If a process dies, its task is retried once, and reported as failed if that fails too.

        Raises:
            ConfigError: more devices are asked for than there are, or the port is taken.
            TrainingError: the processes do not start.
        """
        if not jobs:
            return
        setting = self._setting()
        settings = FleetSettings(together=False, device=setting.device)
        waiting = [Task(tuple(group), settings, seconds=0.0) for group in group_tasks(jobs)]
        deaths = 0
        while waiting:
            progress(f"starting {setting.processes} training processes (importing Ludwig takes some 20 s)")
            with Launch(setting, waiting, self._log) as launch:
                before = len(waiting)
                single_failure = yield from _follow(launch, waiting, progress)
                if not waiting:
                    return
                if not launch.started:
                    message = f"the training processes did not start: {_last_words(launch)}"
                    raise TrainingError(message, f"their whole output is in {self._log}")
                deaths = 1 if len(waiting) < before else deaths + 1
                words = single_failure or _last_words(launch)
                if deaths == TRIES:
                    for job in waiting.pop(0).jobs:
                        yield FailedJob(job, f"{job.spec.name}: a training process died {TRIES} times: {words}")
                    deaths = 0
                else:
                    progress(f"a training process died while training {waiting[0].jobs[0].spec.name}: {words}")
                    empty_folders(waiting[0].jobs)

    def _setting(self) -> LaunchSettings:
        asked = self._devices
        cuda = 0 if asked.device == "cpu" else count_cuda_devices()
        if asked.device == "cuda" and not cuda:
            raise no_cuda_device_error()
        processes = count_processes(asked.processes, cuda)
        if asked.port is not None:
            _check_free(asked.port)
        return LaunchSettings(
            asked.strategy, "cuda" if cuda else "cpu", processes, self._graphs, asked.port, self._worker
        )


def count_processes(asked: int | None, cuda: int) -> int:
    """Number of ranks: `asked`, or one per CUDA device, or one per physical core if `cuda` is 0.

    Raises:
        ConfigError: there are fewer CUDA devices than ranks.
    """
    processes = asked or cuda or psutil.cpu_count(logical=False) or 1
    if cuda and processes > cuda:
        raise ConfigError(
            f"{processes} training processes were requested, but there are only {cuda} CUDA devices (one per process)",
            f"ask for {cuda} or fewer, or set training.device to cpu",
        )
    return processes


def _follow(
    launch: Launch, waiting: list[Task], progress: Callable[[str], None]
) -> Generator[Fitted | FailedJob, None, str]:
    """Yield results, remove their tasks from `waiting`, and return why a single rank failed; "" if none did."""
    single_failure = ""
    for message in launch.messages():
        if "begin" in message:
            for job in waiting[0].jobs:
                progress(f"training {job.spec.name}")
        elif "alone" in message:
            single_failure = message["alone"]
        else:
            jobs = {str(job.folder): job for job in waiting.pop(0).jobs}
            for result in message["results"]:
                yield result_from_json(jobs[result["folder"]], result)
    return single_failure


def _last_words(launch: Launch) -> str:
    """Find the reason of a failure in the output of a launch, among torchrun's own messages."""
    text = launch.output()
    reasons = _SIGNAL.findall(text) or _ERROR.findall(text) or _EXIT.findall(text)
    return reasons[0] if reasons else " | ".join(text.strip().splitlines()[-LOG_TAIL:]) or "no output"


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"port {port} of this machine cannot be used by the training processes: {error.strerror}",
                "set another port, or none to use any free port",
            ) from error
