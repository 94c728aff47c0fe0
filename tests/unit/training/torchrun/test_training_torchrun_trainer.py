"""How the trainer treats torchrun and its ranks: real launches of real ranks, only what fits is the tests' own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import psutil
import pytest

from mlops_cli.errors import ConfigError, TrainingError
from mlops_cli.training.torchrun.torchrun_trainer import Devices, TorchrunTrainer
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.train_jobs import model_spec

REPOSITORY = Path(__file__).resolve().parents[4]
PATIENCE_SECONDS = 60
TWO = Devices("ddp", "cpu", 2)
WORKER = """
import os, signal, sys, time
from pathlib import Path

sys.path.insert(0, {repository!r})
from mlops_cli.training.torchrun.torchrun_worker import serve
from mlops_cli.training.trainer import FailedJob, Fitted

state = Path({state!r})

def times(event):
    "How often this was called for the event, over all launches."
    with (state / event).open("a") as file:
        file.write("x")
    return len((state / event).read_text())

def load():
    import torch
    from mlops_cli.training.engine.ranks import ranks
    ranks.FAILED_WAIT_SECONDS = 1
    ranks = ranks.Ranks(cuda=False)

    def together():
        total = torch.tensor([ranks.rank + 1])
        torch.distributed.all_reduce(total)
        return total.item()

    def fit(task):
        name, rank = task[0].spec.name, ranks.rank
{body}
        found = len(list(task[0].folder.iterdir()))
        total = together()
        for job in task:
            (job.folder / f"model-{{rank}}").write_text("half done")
        facts = {{"total": total, "size": ranks.size, "pid": os.getpid(), "agent": os.getppid(), "found": found}}
        return [Fitted(job, [{{"validation_loss": 0.5}}], facts) for job in task] if rank == 0 else []

    return ranks, fit

serve(load)
"""


@pytest.fixture
def write_worker(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Writes what the ranks fit with and gives what torchrun is to start."""

    def write(body: str = "pass") -> tuple[str, ...]:
        (tmp_path / "state").mkdir(exist_ok=True)
        text = textwrap.indent(textwrap.dedent(body), " " * 8)
        script = tmp_path / "worker.py"
        script.write_text(WORKER.format(repository=str(REPOSITORY), state=str(tmp_path / "state"), body=text))
        return (str(script),)

    return write


def make_jobs(folder: Path, *names: str, **changes: object) -> list[TrainJob]:
    made = []
    for name in names:
        (folder / "models" / name).mkdir(parents=True)
        spec = model_spec(name, **changes)
        made.append(
            TrainJob(
                spec, folder / "a.parquet", ("x",), date(2020, 1, 2), date(2021, 1, 4), 7, folder / "models" / name
            )
        )
    return made


def fitted(results: list[Fitted | FailedJob]) -> list[str]:
    return [result.job.spec.name for result in results if isinstance(result, Fitted)]


def failures(results: list[Fitted | FailedJob]) -> dict[str, str]:
    return {result.job.spec.name: result.reason for result in results if isinstance(result, FailedJob)}


def starts(said: list[str]) -> int:
    return sum(text.startswith("starting 2 training processes") for text in said)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


REFUSALS = """
if name == "refused":
    return [FailedJob(job, f"{job.spec.name}: no such key", 3) for job in task]
if name == "first-rank" and rank == 0:
    return [FailedJob(job, f"{job.spec.name}: differs", 5) for job in task]
if name == "second-rank" and rank == 1:
    return [FailedJob(job, "no space left") for job in task]
if name in ("first-rank", "second-rank"):
    return [Fitted(job) for job in task] if rank == 0 else []
"""


def test_one_launch_does_all_tasks_and_refusals_harm_no_other(tmp_path, write_worker):
    pool = make_jobs(tmp_path, "p-1", "p-2", pool=("AAA", "BBB"), file="configs/p.yaml")
    alone = make_jobs(tmp_path, "first", "refused", "first-rank", "second-rank", "last")
    jobs = [alone[0], pool[0], *alone[1:], pool[1]]
    said: list[str] = []
    devices = replace(TWO, port=free_port())
    trainer = TorchrunTrainer(tmp_path / "log" / "torchrun.log", tmp_path, devices, write_worker(REFUSALS))
    results = list(trainer.fit(jobs, said.append))
    assert fitted(results) == ["first", "p-1", "p-2", "last"]
    assert failures(results) == {
        "refused": "refused: no such key",
        "first-rank": "first-rank: differs",
        "second-rank": "second-rank: rank 1: no space left",
    }
    assert [result.exit_code for result in results if isinstance(result, FailedJob)] == [3, 5, 5]
    assert all(any(result.job is job for job in jobs) for result in results)
    first = results[0]
    assert (first.facts["total"], first.facts["size"]) == (3, 2)
    assert first.epochs == [{"validation_loss": 0.5}]
    assert starts(said) == 1
    assert said[1:5] == ["training first", "training p-1", "training p-2", "training refused"]
    assert not psutil.pid_exists(first.facts["pid"])
    assert not psutil.pid_exists(first.facts["agent"])


DEATHS = """
if rank == 1 and name in ("once", "deadly"):
    turn = times(name)
    if turn == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "deadly":
        return [FailedJob(job, "out of memory") for job in task]
"""


def test_a_rank_that_dies_costs_its_job_a_second_try_and_the_others_nothing(tmp_path, write_worker):
    """The second time over "deadly" it fails while the other rank waits for it: that launch must end, not hang."""
    jobs = make_jobs(tmp_path, "first", "once", "deadly", "last")
    (jobs[1].folder / "model-0").write_text("of a killed process")
    said: list[str] = []
    results = list(TorchrunTrainer(tmp_path / "log", tmp_path, TWO, write_worker(DEATHS)).fit(jobs, said.append))
    assert fitted(results) == ["first", "once", "last"]
    assert failures(results) == {"deadly": "deadly: a training process died 2 times: rank 1: out of memory"}
    assert [result.facts["found"] for result in results if isinstance(result, Fitted)] == [0, 0, 0]
    assert starts(said) == 4
    died = [text for text in said if text.startswith("a training process died")]
    words = "a training process died while training {}: Signal 9 (SIGKILL) received"
    assert died == [words.format(name) for name in ("once", "deadly")]


def test_processes_that_do_not_start_end_the_training_with_their_words(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text("raise ImportError('no such library: ludwig')")
    trainer = TorchrunTrainer(tmp_path / "log", tmp_path, TWO, (str(script),))
    with pytest.raises(TrainingError, match="did not start: ImportError: no such library: ludwig\n") as refusal:
        list(trainer.fit(make_jobs(tmp_path, "a"), print))
    assert str(tmp_path / "log") in refusal.value.hint
    assert "no such library: ludwig" in (tmp_path / "log").read_text()


def test_no_jobs_start_nothing(tmp_path):
    assert list(TorchrunTrainer(tmp_path / "log", tmp_path, Devices(device="cuda"), ()).fit([], print)) == []


@pytest.mark.skipif(Path("/proc/driver/nvidia/version").exists(), reason="there is a CUDA device here")
def test_cuda_asked_for_and_absent_is_refused_before_anything_starts(tmp_path):
    trainer = TorchrunTrainer(tmp_path / "log", tmp_path, Devices(device="cuda"))
    with pytest.raises(ConfigError, match="torch finds no CUDA device") as refusal:
        list(trainer.fit(make_jobs(tmp_path, "a"), print))
    assert "auto or cpu" in refusal.value.hint
    assert not (tmp_path / "log").exists()


def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        trainer = TorchrunTrainer(tmp_path / "log", tmp_path, replace(TWO, port=port))
        with pytest.raises(ConfigError, match=f"port {port} of this machine cannot be used") as refusal:
            list(trainer.fit(make_jobs(tmp_path, "a"), print))
    assert "none" in refusal.value.hint
    assert not (tmp_path / "log").exists()


PARENT = """
import sys
sys.path.insert(0, {repository!r})
from pathlib import Path
from tests.unit.training.torchrun.test_training_torchrun_trainer import TWO, make_jobs
from mlops_cli.training.torchrun.torchrun_trainer import TorchrunTrainer

folder = Path({folder!r})
list(TorchrunTrainer(folder / "log", folder, TWO, {worker!r}).fit(make_jobs(folder, "a"), lambda _: None))
"""
FOR_EVER = """
(state / f"{rank}.tmp").write_text(f"{os.getpid()} {os.getppid()}")
(state / f"{rank}.tmp").rename(state / f"pid-{rank}")
while True: time.sleep(0.01)
"""


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGINT])
def test_all_processes_end_with_their_parent(tmp_path, write_worker, death):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(repository=str(REPOSITORY), folder=str(tmp_path), worker=write_worker(FOR_EVER)))
    parent = subprocess.Popen([sys.executable, str(script)], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    try:
        notes = [tmp_path / "state" / f"pid-{rank}" for rank in range(2)]
        wait_until(lambda: all(note.exists() for note in notes), "the ranks did not take their job")
        pids = {int(pid) for note in notes for pid in note.read_text().split()}
        assert len(pids) == 3  # two ranks and torchrun
        children = [psutil.Process(pid) for pid in pids]
        os.kill(parent.pid, death)
        _, words = parent.communicate(timeout=PATIENCE_SECONDS)
        wait_until(lambda: not any(map(lives, children)), "processes go on without their parent")
    finally:
        parent.kill()
    assert parent.returncode == -death
    assert ("KeyboardInterrupt" in words) == (death == signal.SIGINT)


@pytest.mark.parametrize("held", [False, True])
def test_a_rank_whose_parent_was_gone_before_it_started_ends(tmp_path, held):
    lifeline = tmp_path / "lifeline"
    os.mkfifo(lifeline)
    other_end = os.open(lifeline, os.O_RDWR) if held else None
    text = "from mlops_cli.training.torchrun.torchrun_worker import watch_parent\n"
    text += "from pathlib import Path\nimport sys, time\n"
    text += "watch_parent(Path(sys.argv[1])); time.sleep(1); sys.exit(5)"
    rank = subprocess.run(
        [sys.executable, "-c", text, str(lifeline)], cwd=REPOSITORY, timeout=PATIENCE_SECONDS, check=False
    )
    assert rank.returncode == (5 if held else 0)
    if other_end is not None:
        os.close(other_end)


def wait_until(true: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)


def lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
