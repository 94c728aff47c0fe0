"""One run of torchrun as a child: what it is started with, what its ranks say, and its end, with that of its parent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from mlops_cli.training.process_settings import PROCESS_SETTINGS
from mlops_cli.training.tasks.task_json import task_to_json
from mlops_cli.training.tasks.tasks import Task
from mlops_cli.training.torchrun.torchrun_worker import DEVICE, GRAPHS, LEASH, STRATEGY

WORKER = ("-m", "mlops_cli.training.torchrun.torchrun_worker")
POLL_SECONDS = 0.05
ENDING_SECONDS = 10
# of another launch around this one, e.g. a batch system's: torchrun would take them for its own options
FOREIGN = ("PET_", "TORCHELASTIC_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")


@dataclass(frozen=True)
class Setting:
    """What a launch is started with; see `TorchrunTrainer`."""

    strategy: Literal["ddp", "fsdp"]
    device: Literal["cpu", "cuda"]
    processes: int
    graphs: Path
    port: int | None
    worker: Sequence[str]


class Launch:
    """A running torchrun; a context manager at whose end no process of it is left.

    The ranks are in sessions of their own, which torchrun makes, so that killing its group would not reach them. They
    hold the read end of a named pipe instead, whose other end is this process's alone: it ends them, killed or not.

    Args:
        setting: what to start.
        tasks: what to train.
        log: file that takes what is printed.
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
        # a file for each rank besides: in the log their words run into one another
        self._ranks = self._folder / "ranks"
        options = [*_options(setting), "--tee=3", f"--log-dir={self._ranks}"]
        command = [sys.executable, "-m", "torch.distributed.run", *options, *setting.worker]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, str(listed), str(self._results)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(setting, leash),
                start_new_session=True,  # Ctrl-C is the parent's to handle
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
        """What the ranks write, until torchrun has ended."""
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
        """What was printed so far, by each rank and by torchrun."""
        files = [*sorted(self._ranks.glob("**/std*.log")), self._log]
        return "\n".join(path.read_text(errors="replace") for path in files)


def _options(setting: Setting) -> list[str]:
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{setting.port}"] if setting.port else ["--standalone"]
    # local-addr: the machine's own name need not lead anywhere
    return [*meeting, "--local-addr=127.0.0.1", "--nnodes=1", f"--nproc-per-node={setting.processes}"]


def _environment(setting: Setting, leash: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
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
