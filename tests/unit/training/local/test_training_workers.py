"""How many training processes there are, who gets what, and how long they live: real small workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mlops_cli.errors import TrainingError
from mlops_cli.training.local.workers import WorkerDied, Workers, WorkerSettings
from mlops_cli.training.tasks import FleetSettings, Task, split_into_tasks
from mlops_cli.training.trainer import TrainJob
from tests.fakes.train_jobs import make_job, model_spec, same_job

REPOSITORY = Path(__file__).resolve().parents[4]
TIMEOUT_SECONDS = 30
WORKER = """
import os, signal, sys, time
from pathlib import Path

sys.path.insert(0, {repository!r})
from mlops_cli.training.local.ludwig_worker import serve
from mlops_cli.training.trainer import Fitted

state = Path({state!r})

def times(event):
    with (state / event).open("a") as file:
        file.write("x")
    return len((state / event).read_text())

def fit(task, tick):
    for job in task.jobs:
        name = job.spec.name
{body}
        facts = {{"pid": os.getpid(), "order": times("order"), "together": len(task.jobs), "at": time.monotonic()}}
        yield Fitted(job, facts=facts)

def load():
{load}
    return fit

serve(load)
"""


@pytest.fixture(scope="module")
def one_job(tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    return make_job(tmp_path_factory.mktemp("job"), model_spec("first"), sessions=200)


@pytest.fixture
def jobs(one_job: TrainJob, tmp_path: Path) -> list[TrainJob]:
    """Six jobs of one architecture."""
    (tmp_path / "models").mkdir()
    moved = replace(one_job, folder=tmp_path / "models" / "first")
    return [same_job(moved, f"job-{number}") for number in range(6)]


class Place:
    """A folder with a worker's script, and pools that start it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        (folder / "state").mkdir()

    def command(self, body: str = "pass", load: str = "pass") -> list[str]:
        script = self.folder / "worker.py"
        script.write_text(
            WORKER.format(
                repository=str(REPOSITORY),
                state=str(self.folder / "state"),
                body=textwrap.indent(textwrap.dedent(body), " " * 8),
                load=textwrap.indent(textwrap.dedent(load), " " * 4),
            )
        )
        return [sys.executable, str(script)]

    def run(self, tasks: list[Task], command: list[str], **settings) -> list[dict | WorkerDied]:
        pool = WorkerSettings(self.folder / "graphs", self.folder / "logs", command=command, **settings)
        return list(Workers(pool, self.said.append).run(tasks))

    def starts(self) -> int:
        return sum(text.startswith("starting") for text in self.said)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def single(jobs: list[TrainJob], seconds: float = 1.0) -> list[Task]:
    return [Task((job,), FleetSettings(together=False), seconds) for job in jobs]


def pids(results: list[dict | WorkerDied]) -> set[int]:
    return {result["facts"]["pid"] for result in results if isinstance(result, dict)}


def test_little_work_is_done_by_one_process(place, jobs):
    assert len(pids(place.run(single(jobs), place.command()))) == 1


def test_much_work_is_shared(place, jobs):
    # each waits for the other: one process alone would wait for ever
    body = """
    (state / f"met-{os.getpid()}").touch()
    while len(list(state.glob("met-*"))) < 2:
        time.sleep(0.01)
    """
    results = place.run(single(jobs), place.command(body), limit=2)
    assert len(results) == len(jobs)
    assert len(pids(results)) == 2


def test_no_more_processes_than_memory_allows(place, jobs):
    assert len(pids(place.run(single(jobs), place.command(), limit=4, memory=2e9))) == 1
    assert place.starts() == 1


def test_every_gpu_has_a_process_that_sees_it_alone(place, jobs):
    body = """
    (state / os.environ["CUDA_VISIBLE_DEVICES"]).touch()
    while not {"3", "GPU-5"} <= {path.name for path in state.iterdir()}:
        time.sleep(0.01)
    """
    assert len(pids(place.run(single(jobs), place.command(body), gpus=("3", "GPU-5")))) == 2


def test_a_process_that_does_not_start_leaves_its_share_to_the_others(place, jobs):
    load = """
    if times("load") == 1:
        raise MemoryError("no room for me")
    """
    results = place.run(single(jobs), place.command(load=load), limit=2)
    assert {Path(result["folder"]).name for result in results} == {job.spec.name for job in jobs}


def test_where_none_starts_the_first_reason_is_told(place, jobs):
    with pytest.raises(TrainingError, match=r"did not start: exit code 1; .*no room"):
        place.run(single(jobs), place.command(load="raise MemoryError('no room')"), limit=2)


def test_a_fleet_whose_process_died_is_tried_again_model_by_model(place, jobs):
    body = """
    if name == "job-2":
        os.kill(os.getpid(), signal.SIGKILL)
    """
    results = place.run([Task(tuple(jobs), FleetSettings(), 1.0)], place.command(body))
    done = {Path(result["folder"]).name: result["facts"] for result in results if isinstance(result, dict)}
    died = [result for result in results if isinstance(result, WorkerDied)]
    assert set(done) == {f"job-{number}" for number in (0, 1, 3, 4, 5)}
    assert {name: facts["together"] for name, facts in done.items()} == {
        "job-0": 6,
        "job-1": 6,
        "job-3": 1,
        "job-4": 1,
        "job-5": 1,
    }
    (only,) = died
    assert [job.spec.name for job in only.task.jobs] == ["job-2"]
    assert only.reason.startswith("signal 9")


def test_processes_outlive_a_stage_but_not_the_run(place, jobs, tmp_path):
    home = tmp_path / "home"
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        settings = {"home": home, "owner": owner.pid}
        first = pids(place.run(single(jobs[:2]), place.command(), **settings))
        second = pids(place.run(single(jobs[2:]), place.command(), **settings))
        assert first == second
        assert place.starts() == 1
        (worker,) = (psutil.Process(pid) for pid in first)
        assert worker.is_running()
    finally:
        owner.kill()
        owner.wait()
    ended(worker)


def test_taking_its_note_away_ends_a_waiting_process(place, jobs, tmp_path):
    home = tmp_path / "home"
    (pid,) = pids(place.run(single(jobs[:1]), place.command(), home=home, owner=os.getpid()))
    (note,) = home.glob("*.json")
    assert note.stat().st_mode & 0o777 == 0o600  # it holds the key to the process
    note.unlink()
    ended(psutil.Process(pid))


def test_a_note_of_a_process_that_is_gone_is_passed_over(place, jobs, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "worker-0.json").write_text('{"port": 1, "key": "00", "pid": 1}')
    (pid,) = pids(place.run(single(jobs[:1]), place.command(), home=home, owner=os.getpid()))
    (home / "worker-0.json").unlink()
    ended(psutil.Process(pid))


def test_a_number_that_another_process_has_by_now_is_not_trusted(place, jobs, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    note = {"port": 1, "key": "00", "pid": os.getpid(), "started": 0.0}
    (home / "worker-0.json").write_text(json.dumps(note))
    (pid,) = pids(place.run(single(jobs[:1]), place.command(), home=home, owner=os.getpid()))
    assert pid != os.getpid()
    (home / "worker-0.json").unlink()
    ended(psutil.Process(pid))


@pytest.mark.parametrize("limit", [1, 2])
def test_what_keeps_processes_from_starting_is_told_and_nothing_is_lost_silently(place, jobs, limit):
    (place.folder / "logs").write_text("a file where a folder is needed")
    with pytest.raises(TrainingError, match=r"a training process could not be kept: \w+Error"):
        place.run(single(jobs), place.command(), limit=limit)


def test_kept_processes_do_not_count_twice_against_memory(place, jobs, tmp_path, monkeypatch):
    home = tmp_path / "home"
    body = """
    (state / f"met-{os.getpid()}").touch()
    while len(list(state.glob("met-*"))) < 2:
        time.sleep(0.01)
    """
    settings = {"home": home, "owner": os.getpid(), "limit": 2}
    first = pids(place.run(single(jobs[:2]), place.command(body), **settings))
    assert len(first) == 2
    little = psutil.virtual_memory()._replace(available=10)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    place.run(single(jobs[2:4]), place.command(body), **settings)
    assert place.starts() == 2
    for note in home.glob("*.json"):
        note.unlink()
    for pid in first:
        ended(psutil.Process(pid))


def test_whoever_has_no_key_is_turned_away(place, jobs, tmp_path):
    from multiprocessing import AuthenticationError
    from multiprocessing.connection import Client

    home = tmp_path / "home"
    (pid,) = pids(place.run(single(jobs[:1]), place.command(), home=home, owner=os.getpid()))
    port = json.loads((home / "worker-0.json").read_text())["port"]
    with pytest.raises((AuthenticationError, EOFError, ConnectionError)):
        Client(("127.0.0.1", port), authkey=b"guessed")
    # and it still takes tasks of those who have
    assert pids(place.run(single(jobs[1:2]), place.command(), home=home, owner=os.getpid())) == {pid}
    (home / "worker-0.json").unlink()
    ended(psutil.Process(pid))


def test_nobody_waits_for_an_abandoned_run(place, jobs, tmp_path):
    pool = WorkerSettings(tmp_path / "graphs", tmp_path / "logs", command=place.command("time.sleep(600)"))
    body = """
    if name != "job-0":
        time.sleep(600)
    """
    pool = replace(pool, command=place.command(body))
    going = Workers(pool, place.said.append).run(single(jobs))
    pid = next(going)["facts"]["pid"]
    began = time.monotonic()
    going.close()
    assert time.monotonic() - began < TIMEOUT_SECONDS
    assert not psutil.pid_exists(pid)


class TestCutting:
    def test_models_of_one_architecture_share_tasks_biggest_first(self, tmp_path):
        long = [
            make_job(tmp_path, model_spec(f"long-{number}", ludwig={"trainer": {"epochs": 9}})) for number in range(3)
        ]
        short = [
            make_job(tmp_path, model_spec(f"short-{number}", ludwig={"trainer": {"epochs": 2}}), sessions=200)
            for number in range(40)
        ]
        tasks = split_into_tasks([*short, *long], FleetSettings(), 1)
        assert [len(task.jobs) for task in tasks] == [32, 8, 3] or [len(task.jobs) for task in tasks] == [32, 3, 8]
        assert [task.seconds for task in tasks] == sorted((task.seconds for task in tasks), reverse=True)
        assert sorted(job.spec.name for task in tasks for job in task.jobs) == sorted(
            job.spec.name for job in [*short, *long]
        )

    def test_one_after_another_means_a_task_each(self, jobs):
        assert [len(task.jobs) for task in split_into_tasks(jobs, FleetSettings(together=False), 1)] == [1] * len(jobs)

    def test_gpus_share_evenly(self, jobs):
        assert [len(task.jobs) for task in split_into_tasks(jobs, FleetSettings(device="cuda"), 2)] == [3, 3]

    def test_another_seed_is_another_fleet(self, jobs):
        other = [replace(jobs[0], seed=8), *jobs[1:]]
        assert sorted(len(task.jobs) for task in split_into_tasks(other, FleetSettings(), 1)) == [1, 5]

    def test_a_table_that_cannot_be_read_is_no_reason_to_stop(self, jobs, tmp_path):
        lost = replace(jobs[0], features=tmp_path / "nowhere.parquet")
        assert sum(len(task.jobs) for task in split_into_tasks([lost, *jobs[1:]], FleetSettings(), 1)) == len(jobs)


def ended(process: psutil.Process) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{process} goes on"
        time.sleep(0.05)
