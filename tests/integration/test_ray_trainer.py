"""Training on real Ray clusters: one of two nodes on this machine, and those that a run starts for itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from mlops_cli.config.schemas.project import Training
from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.training.cluster.ray_cluster import connected
from mlops_cli.training.cluster.ray_task import library_versions
from mlops_cli.training.cluster.ray_trainer import RayTrainer
from mlops_cli.training.local.ludwig_trainer import LudwigTrainer
from mlops_cli.training.local.workers import WorkerSettings
from mlops_cli.training.tasks import FleetSettings
from mlops_cli.training.trainer import FailedJob, Fitted, Trainer, TrainJob
from tests.fakes.train_jobs import make_job, model_spec

# Ray leaves the log files of the servers that it starts to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore:.*name='/tmp/ray/session_:pytest.PytestUnraisableExceptionWarning")
real = [pytest.mark.ludwig, pytest.mark.slow]

TASK = "ray::train_task"  # what Ray calls a process that is at work on one
NODE_BYTES = 2_000_000_000
STORE_BYTES = 100_000_000
SMALL = {
    "combiner": {"type": "concat", "num_fc_layers": 1, "output_size": 8, "dropout": 0.1},
    "trainer": {"epochs": 2, "batch_size": 64, "eval_batch_size": 1024},
}
SMALLER = {**SMALL, "combiner": {"type": "concat", "num_fc_layers": 1, "output_size": 4}}
ENOUGH_SECONDS = 300


@dataclass
class Done:
    """All that one trainer made of one list of jobs."""

    jobs: list[TrainJob]
    results: list[Fitted | FailedJob]
    said: list[str]

    def files(self) -> dict[str, bytes]:
        folder = self.jobs[0].folder.parent
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def losses(self) -> dict[str, list[float]]:
        return {
            result.job.spec.name: [epoch["validation_loss"] for epoch in result.epochs]
            for result in self.results
            if isinstance(result, Fitted)
        }

    def facts(self) -> dict[str, object]:
        return {
            result.job.spec.name: (result.epochs, result.facts) for result in self.results if isinstance(result, Fitted)
        }


def jobs_in(folder: Path) -> list[TrainJob]:
    """Two tasks of two models, of which one has a table that nobody can read."""
    names = {"red-one": SMALL, "red-two": SMALL, "blue-one": SMALLER, "blue-two": SMALLER}
    jobs = [
        make_job(folder, model_spec(name, ludwig=ludwig), prices=n) for n, (name, ludwig) in enumerate(names.items())
    ]
    jobs[3].features.write_bytes(b"this is no parquet file")
    return jobs


def train(trainer: Trainer, jobs: list[TrainJob]) -> Done:
    said: list[str] = []
    return Done(jobs, list(trainer.fit(jobs, said.append)), said)


def on_ray(address: str | None, **changes: object) -> RayTrainer:
    return RayTrainer(Training(executor="ray", ray_address=address, device="cpu", **changes), FleetSettings())


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class TwoNodes:
    gcs: str
    client: str


@pytest.fixture(scope="module")
def cluster() -> Iterator[TwoNodes]:
    from ray.cluster_utils import Cluster

    port = free_port()
    node = {"num_cpus": 1, "num_gpus": 0, "memory": NODE_BYTES, "object_store_memory": STORE_BYTES}
    head = {**node, "ray_client_server_port": port, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        cluster.add_node(**node)
        cluster.wait_for_nodes(timeout=60)
        yield TwoNodes(cluster.address, f"ray://127.0.0.1:{port}")
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The same jobs in a training process of this machine."""
    folder = tmp_path_factory.mktemp("here")
    settings = WorkerSettings(folder / "graphs", folder / "logs", limit=1)
    return train(LudwigTrainer(settings, device="cpu"), jobs_in(folder))


def below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def at_work(pid: int) -> list[psutil.Process]:
    """Ray's processes below `pid` that have a task."""
    found = []
    for process in below(pid):
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[:1] == [TASK]:
                found.append(process)
    return found


@contextmanager
def killer(times: int) -> Iterator[set[int]]:
    """SIGKILL the first `times` processes that are at work on a task; gives their numbers."""
    killed: set[int] = set()
    stop = threading.Event()

    def kill() -> None:
        while len(killed) < times and not stop.wait(0.05):
            for process in at_work(os.getpid()):
                if process.pid not in killed and len(killed) < times:
                    process.kill()
                    killed.add(process.pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


class TestTwoNodes:
    pytestmark = real

    def test_they_train_what_one_machine_trains_to_the_byte(self, cluster: TwoNodes, here: Done, tmp_path: Path):
        done = train(on_ray(cluster.client), jobs_in(tmp_path))
        assert len(done.results) == 4
        assert done.facts() == here.facts()
        assert done.files() == here.files()
        nodes = {line.split("on node ")[1] for line in done.said if "trained on node" in line}
        assert len(nodes) == 2
        (failed,) = (result for result in done.results if isinstance(result, FailedJob))
        assert (failed.job.spec.name, failed.exit_code) == ("blue-two", 4)
        assert str(failed.job.features) in failed.reason

    def test_the_jobs_of_a_killed_worker_are_tried_again(self, cluster: TwoNodes, here: Done, tmp_path: Path):
        with killer(times=1) as killed:
            done = train(on_ray(cluster.gcs), jobs_in(tmp_path)[:2])  # one task
        assert len(killed) == 1
        assert [line for line in done.said if "died, 2 models are tried once more" in line]
        assert done.files().keys() == {path for path in here.files() if path.startswith("red-")}
        # alone now, not in a fleet of two: the same but for rounding
        losses = {name: here.losses()[name] for name in ("red-one", "red-two")}
        assert done.losses() == {name: pytest.approx(values, rel=1e-5) for name, values in losses.items()}

    @pytest.mark.parametrize(
        ("libraries", "reason"),
        [
            ({**library_versions(), "torch": "1.0"}, f"other libraries: torch {version('torch')}, not torch 1.0"),
            ({}, "training failed: KeyError: 'ludwig'"),  # as any bug of ours in a task would
        ],
    )
    def test_what_goes_wrong_on_a_node_is_said(
        self, cluster: TwoNodes, tmp_path: Path, libraries: dict[str, str], reason: str
    ):
        trainer = RayTrainer(Training(ray_address=cluster.gcs, device="cpu"), FleetSettings(), libraries)
        (failed,) = train(trainer, [make_job(tmp_path, model_spec())]).results
        assert isinstance(failed, FailedJob)
        assert reason in failed.reason

    def test_a_gpu_that_no_node_has_is_refused(self, cluster: TwoNodes, tmp_path: Path):
        trainer = RayTrainer(Training(ray_address=cluster.gcs, device="cuda"), FleetSettings())
        with pytest.raises(ConfigError, match="no node of the Ray cluster offers a GPU"):
            train(trainer, [make_job(tmp_path, model_spec())])


@pytest.fixture(scope="class")
def raylet() -> Iterator[tuple[str, psutil.Process]]:
    """Address of a cluster whose only node with a CPU is not the caller's; and Ray's server on that node."""
    from ray.cluster_utils import Cluster

    node = {"num_gpus": 0, "memory": NODE_BYTES, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 0, "include_dashboard": False})
    try:
        other = cluster.add_node(num_cpus=1, **node)
        cluster.wait_for_nodes(timeout=60)
        (server,) = other.all_processes["raylet"]
        yield cluster.address, psutil.Process(server.process.pid)
    finally:
        cluster.shutdown()


class TestANodeThatDoesNotBeginItsTask:
    """Its server is stopped, so the task waits there for ever, as after the faults of Ray that lose one."""

    pytestmark = pytest.mark.slow

    def run(self, raylet: tuple[str, psutil.Process], job: TrainJob, after: str) -> Done:
        """Train while the server of the node is stopped, until the progress message with `after`."""
        address, server = raylet
        trainer = RayTrainer(Training(ray_address=address, device="cpu"), FleetSettings(), libraries={}, patience=2)
        said: list[str] = []

        def hear(text: str) -> None:
            said.append(text)
            if "tasks for the Ray cluster" in text:  # connected, and nothing is sent yet
                server.suspend()
            if after in text:
                server.resume()

        try:
            return Done([job], list(trainer.fit([job], hear)), said)
        finally:
            server.resume()

    def test_the_task_is_sent_again(self, raylet: tuple[str, psutil.Process], tmp_path: Path):
        done = self.run(raylet, make_job(tmp_path, model_spec()), after="sent again")
        assert [line for line in done.said if "idle for 2 s, but 1 tasks are not done: they are sent again" in line]
        (failed,) = done.results
        assert isinstance(failed, FailedJob)
        assert "training failed: KeyError: 'ludwig'" in failed.reason  # the node has begun it

    def test_the_run_ends_if_that_does_not_help(self, raylet: tuple[str, psutil.Process], tmp_path: Path):
        start = time.monotonic()
        with pytest.raises(ServiceError, match="idle for 2 s, but 1 tasks are not done") as refused:
            self.run(raylet, make_job(tmp_path, model_spec()), after="(never)")
        assert time.monotonic() - start < 60
        assert "run the command again" in refused.value.hint


class TestClusterOfItsOwn:
    pytestmark = real

    def test_a_job_whose_workers_die_is_reported_and_nothing_stays(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ):
        before = set(below(os.getpid()))
        job = make_job(tmp_path, model_spec(ludwig=SMALL))
        with killer(times=2) as killed:
            done = train(on_ray(None, workers=1), [job])
        assert len(killed) == 2
        (failed,) = done.results
        assert isinstance(failed, FailedJob)
        assert "the training process on the cluster died 2 times" in failed.reason
        assert not list(job.folder.iterdir())
        assert capfd.readouterr() == ("", "")
        started = set(below(os.getpid())) - before
        assert not [process for process in started if process.status() != psutil.STATUS_ZOMBIE]

    def test_ctrl_c_leaves_nothing_running(self, tmp_path: Path):
        make_job(tmp_path, model_spec(ludwig=SMALL))
        program = """
import sys
from pathlib import Path
from tests.fakes.train_jobs import make_job, model_spec
from tests.integration.test_ray_trainer import SMALL, on_ray, train
train(on_ray(None, workers=1), [make_job(Path(sys.argv[1]), model_spec("other", ludwig=SMALL))])
"""
        run = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        until(lambda: at_work(run.pid))
        started = below(run.pid)
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=ENOUGH_SECONDS)
        assert errors.rstrip().endswith("KeyboardInterrupt")
        gone, alive = psutil.wait_procs(started, timeout=20)
        assert gone
        assert not alive


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + ENOUGH_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(("scheme", "listens"), [("", False), ("ray://", False), ("ray://", True)])
def test_an_address_where_no_cluster_answers_is_refused_soon(scheme: str, listens: bool):
    with closing(socket.socket()) as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:
            silent.listen()
        address = f"{scheme}127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ServiceError, match=address) as refused, connected(address, None, patience=1):
            pass
    assert time.monotonic() - start < 20
    assert "ray status" in refused.value.hint


def test_what_is_no_address_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no address of a Ray cluster"):
        train(on_ray("ray://head"), [make_job(tmp_path, model_spec())])


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="not installed") as refused:
        train(on_ray(None), [make_job(tmp_path, model_spec())])
    assert refused.value.hint == "run: pip install 'mlops-cli[ray]'"


def test_ddp_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"training\.strategy: ddp"):
        train(on_ray("ray://127.0.0.1:1", strategy="ddp"), [make_job(tmp_path, model_spec())])


def test_no_jobs_need_no_cluster():
    assert train(on_ray("ray://127.0.0.1:1"), []).results == []
