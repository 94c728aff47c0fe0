"""A torchrun child process: start it, read the messages of its ranks, and end all of it with this process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from mlops_cli.training.process_settings import PROCESS_SETTINGS
from mlops_cli.training.tasks import Task, task_to_json
from mlops_cli.training.torchrun.torchrun_worker import DEVICE, GRAPHS, LEASH, STRATEGY

WORKER = ("-m", "mlops_cli.training.torchrun.torchrun_worker")
POLL_SECONDS = 0.05
ENDING_SECONDS = 10
# variables of a launch around this one, e.g. of a batch system: torchrun would read them as its own options
FOREIGN = ("PET_", "TORCHELASTIC_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")


@dataclass(frozen=True)
class Setting:
    """Settings of a launch. `processes` is the number of ranks; for the rest see `Devices` and `TorchrunTrainer`."""

    strategy: Literal["ddp", "fsdp"]
    device: Literal["cpu", "cuda"]
    processes: int
    graphs: Path
    port: int | None
    worker: Sequence[str]


class Launch:
    """A running torchrun that trains `tasks` in their order. When the context ends, all its processes have ended.

    torchrun puts the ranks into sessions of their own, so a signal to its process group does not reach them. Instead
    each rank reads from a named pipe that only this process holds open. When this process ends, also by SIGKILL, the
    pipe closes and the ranks end.
    """

    def __init__(self, setting: Setting, tasks: Sequence[Task], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._folder = Path(tempfile.mkdtemp(prefix="mlops-torchrun-"))
        self._results = self._folder / "results"
        self._results.touch()
        listed = self._folder / "tasks"
        listed.write_text("".join(task_to_json(task) + "\n" for task in tasks))
        leash = self._folder / "leash"
        os.mkfifo(leash)
        self._leash = os.open(leash, os.O_RDWR)  # not for writing alone: that would wait for a reader
        # also a file for each rank, because the log mixes the lines of all
        self._ranks = self._folder / "ranks"
        options = [*launch_options(setting), "--tee=3", f"--log-dir={self._ranks}"]
        command = [sys.executable, "-m", "torch.distributed.run", *options, *setting.worker]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, str(listed), str(self._results)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=launch_environment(setting, leash, os.environ),
                start_new_session=True,  # the parent handles Ctrl-C
            )
        self.started = False

    def __enter__(self) -> Launch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._leash)  # ends the ranks, and torchrun after them
        try:
            self._process.wait(ENDING_SECONDS)
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


def launch_options(setting: Setting) -> list[str]:
    """Options of torchrun: where the ranks meet, and how many there are."""
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{setting.port}"] if setting.port else ["--standalone"]
    # local-addr: the host name of this machine may not resolve
    return [*meeting, "--local-addr=127.0.0.1", "--nnodes=1", f"--nproc-per-node={setting.processes}"]


def launch_environment(setting: Setting, leash: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment of torchrun and its ranks: `inherited`, without the variables of a launch around this one.

    `leash` is the named pipe that this process holds open.
    """
    own = {name: value for name, value in inherited.items() if not name.startswith(FOREIGN)}
    if setting.device == "cpu":
        own["CUDA_VISIBLE_DEVICES"] = ""
    return {
        **own,
        **PROCESS_SETTINGS,
        "GLOO_SOCKET_IFNAME": "lo",
        LEASH: str(leash),
        GRAPHS: str(setting.graphs),
        STRATEGY: setting.strategy,
        DEVICE: setting.device,
    }
