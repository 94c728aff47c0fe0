"""How the trainer treats its process: real small workers that die, babble, never start, or lose their parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest

from mlops_cli.errors import ConfigError, TrainingError
from mlops_cli.training.local.ludwig_trainer import LudwigTrainer
from mlops_cli.training.local.workers import WorkerSettings
from mlops_cli.training.tasks import FleetSettings
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.train_jobs import model_spec, same_job

REPOSITORY = Path(__file__).resolve().parents[4]
TIMEOUT_SECONDS = 30

# A worker that speaks the protocol and imports nothing: starts in a moment.
BARE = """
import json, os, signal, subprocess, sys, time
from multiprocessing.connection import Listener
from pathlib import Path

state = Path({state!r})

def times(event):
    "How often this was called for the event, over all processes."
    with (state / event).open("a") as file:
        file.write("x")
    return len((state / event).read_text())

{load}
def started():
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")

key = os.urandom(16)
with Listener(("127.0.0.1", 0), authkey=key) as listener:
    note = Path(sys.argv[-2])
    part = note.with_suffix(".part")
    address = {{"port": listener.address[1], "key": key.hex(), "pid": os.getpid(), "started": started()}}
    part.write_text(json.dumps(address))
    part.rename(note)
    connection = listener.accept()
while True:
    task = json.loads(connection.recv_bytes())
    for job in task["jobs"]:
        name, folder = job["spec"]["name"], Path(job["folder"])
        facts = {{"pid": os.getpid(), "found": len(list(folder.iterdir())), "graphs": sys.argv[-3]}}
        (folder / "model.onnx").write_text(name)
        connection.send_bytes(json.dumps({{"doing": f"training {{name}}"}}).encode())
{body}
        result = {{"folder": str(folder), "epochs": [{{"validation_loss": 0.5}}], "facts": facts}}
        connection.send_bytes(json.dumps({{"result": result}}).encode())
    connection.send_bytes(b'{{"done": true}}')
"""
# The real worker process; only what fits is the test's own.
REAL = """
import os, subprocess, sys
from pathlib import Path

sys.path.insert(0, {repository!r})
from mlops_cli.errors import ConfigError, MlopsError, TrainingError
from mlops_cli.training.local.ludwig_worker import serve
from mlops_cli.training.trainer import FailedJob, Fitted

state = Path({state!r})

def fit_one(job):
    name, facts = job.spec.name, {{"pid": os.getpid()}}
{body}
    return Fitted(job, epochs=[], facts=facts)

def fit(task, tick):
    for job in task.jobs:
        tick(f"training {{job.spec.name}}")
        try:
            yield fit_one(job)
        except MlopsError as error:
            yield FailedJob(job, str(error), error.exit_code)

def load():
{load}
    return fit

serve(load)
"""


def write_worker(tmp_path: Path, kind: str, body: str, load: str) -> list[str]:
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    script = tmp_path / "worker.py"
    load = textwrap.dedent(load) if kind == BARE else textwrap.indent(textwrap.dedent(load), "    ")
    body = textwrap.indent(textwrap.dedent(body), "        " if kind == BARE else "    ")
    script.write_text(kind.format(repository=str(REPOSITORY), state=str(state), body=body, load=load))
    return [sys.executable, *(["-I", "-S"] if kind == BARE else []), str(script)]


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., list[str]]:
    """Writes a bare worker and gives the command that starts it."""
    return lambda body="pass", load="": write_worker(tmp_path, BARE, body, load)


@pytest.fixture
def real(tmp_path: Path) -> Callable[..., list[str]]:
    """Writes a fit for the real worker and gives the command that starts it."""
    return lambda body="pass", load="pass": write_worker(tmp_path, REAL, body, load)


@pytest.fixture
def jobs(tmp_path: Path) -> list[TrainJob]:
    """Three jobs: a, b, c."""
    made = []
    for name in "abc":
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        table = tmp_path / f"{name}.parquet"
        made.append(TrainJob(model_spec(name), table, ("x",), date(2020, 1, 2), date(2021, 1, 4), 7, folder))
    return made


class Run:
    """One call of `fit`, and what the trainer said meanwhile."""

    def __init__(self, tmp_path: Path, command: list[str], together: bool = False, **pool: Any) -> None:
        self.log = tmp_path / "logs" / "ludwig-0.log"
        self.graphs = tmp_path / "graphs"
        self.said: list[str] = []
        settings = WorkerSettings(self.graphs, tmp_path / "logs", command=command, **pool)
        self.trainer = LudwigTrainer(settings, FleetSettings(together=together))

    def results(self, jobs: list[TrainJob]) -> list[Fitted | FailedJob]:
        return list(self.trainer.fit(jobs, self.said.append))

    def starts(self) -> int:
        return sum(text.startswith("starting a training process") for text in self.said)


def fitted(results: list[Fitted | FailedJob]) -> list[str]:
    return [result.job.spec.name for result in results if isinstance(result, Fitted)]


def failures(results: list[Fitted | FailedJob]) -> dict[str, str]:
    return {result.job.spec.name: result.reason for result in results if isinstance(result, FailedJob)}


def test_one_process_fits_all_jobs_in_order(tmp_path, bare, jobs):
    run = Run(tmp_path, bare())
    results = run.results(jobs)
    assert fitted(results) == ["a", "b", "c"]
    assert len({result.facts["pid"] for result in results}) == 1
    assert [result.job for result in results] == jobs
    assert {result.facts["graphs"] for result in results} == {str(run.graphs)}
    assert results[0].epochs == [{"validation_loss": 0.5}]
    assert run.said[1:] == ["training a", "training b", "training c"]
    assert run.starts() == 1


def test_no_jobs_start_no_process(tmp_path):
    assert Run(tmp_path, ["/nowhere/to/be/found"]).results([]) == []


def test_cuda_asked_for_and_absent_is_said_before_anything_starts(tmp_path, bare, jobs, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # also where there is one
    run = Run(tmp_path, bare())
    trainer = replace(run.trainer, device="cuda")
    with pytest.raises(ConfigError, match=r"training\.device: cuda was requested") as refusal:
        list(trainer.fit(jobs, run.said.append))
    assert "mlops doctor" in refusal.value.hint
    assert run.starts() == 0


def test_the_process_is_gone_when_all_is_done(tmp_path, bare, jobs):
    results = Run(tmp_path, bare()).results(jobs)
    assert not psutil.pid_exists(results[0].facts["pid"])


def test_the_process_is_gone_when_nobody_wants_the_rest(tmp_path, bare, jobs):
    going = Run(tmp_path, bare()).trainer.fit(jobs, lambda _: None)
    pid = next(going).facts["pid"]
    assert psutil.pid_exists(pid)
    going.close()
    assert not psutil.pid_exists(pid)


def test_a_process_that_dies_once_is_replaced_and_the_job_done(tmp_path, bare, jobs):
    run = Run(tmp_path, bare("if name == 'b' and times('b') == 1: os.kill(os.getpid(), signal.SIGKILL)"))
    results = {result.job.spec.name: result for result in run.results(jobs)}
    assert sorted(fitted(list(results.values()))) == ["a", "b", "c"]
    assert run.starts() == 2
    assert results["a"].facts["pid"] != results["c"].facts["pid"] == results["b"].facts["pid"]
    # what the dead process left in the job's folder is gone
    assert results["b"].facts["found"] == 0


DEATHS = {
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
    "exit": ("sys.stderr.write('so long\\n'); sys.exit(7)", "exit code 7; so long"),
    "exception": ("raise ZeroDivisionError('over nothing')", "exit code 1; Traceback"),
    "half-an-answer": ("os.write(connection.fileno(), bytes([0, 0, 1, 0, 7])); os._exit(6)", "exit code 6"),
}


def test_jobs_that_kill_their_process_twice_are_reported_and_the_others_go_on(tmp_path, bare, jobs):
    deadly = [same_job(jobs[0], name) for name in DEATHS]
    cases = "\n".join(f"if name == {name!r}: {statement}" for name, (statement, _) in DEATHS.items())
    run = Run(tmp_path, bare(cases))
    results = run.results([jobs[0], *deadly, *jobs[1:]])
    assert len(results) == 3 + len(DEATHS)
    assert sorted(fitted(results)) == ["a", "b", "c"]
    for name, reason in failures(results).items():
        assert reason.startswith(f"{name}: the training process died 2 times: {DEATHS[name][1]}")
    assert run.starts() == 2 * len(DEATHS)  # after the last one nothing was left to do


def test_the_last_words_are_the_end_of_the_log(tmp_path, bare, jobs):
    run = Run(
        tmp_path, bare("print(*(f'line {i}' for i in range(100)), sep='\\n', file=sys.stderr, flush=True); os._exit(3)")
    )
    reason = failures(run.results(jobs[:1]))["a"]
    assert reason == "a: the training process died 2 times: exit code 3; " + " | ".join(
        f"line {i}" for i in range(95, 100)
    )


def test_deaths_of_different_jobs_are_not_added_up(tmp_path, bare, jobs):
    run = Run(tmp_path, bare("if times(name) == 1: os._exit(1)"))
    assert sorted(fitted(run.results(jobs))) == ["a", "b", "c"]
    assert run.starts() == 4


def test_refusals_and_full_disks_are_failures_of_one_job(tmp_path, real, jobs):
    body = """
    if name == 'a': raise ConfigError('configs/a.yaml: ludwig.x: unknown', 'take it out')
    if name == 'b': raise TrainingError('b: [Errno 28] No space left on device')
    """
    results = Run(tmp_path, real(body)).results(jobs)
    assert failures(results) == {
        "a": "configs/a.yaml: ludwig.x: unknown\ntake it out",
        "b": "b: [Errno 28] No space left on device",
    }
    assert [result.exit_code for result in results if isinstance(result, FailedJob)] == [3, 5]
    assert fitted(results) == ["c"]


def test_a_process_that_never_gets_ready_ends_the_training_with_its_log(tmp_path, real, jobs):
    run = Run(tmp_path, real(load="raise ImportError('no such library: ludwig')"))
    with pytest.raises(TrainingError) as refusal:
        run.results(jobs)
    assert refusal.value.message.startswith("the training process did not start: exit code 1; ")
    assert refusal.value.message.endswith("ImportError: no such library: ludwig")
    assert str(run.log) in refusal.value.hint
    assert "no such library" in run.log.read_text()


def test_a_process_that_is_killed_before_it_is_ready(tmp_path, bare, jobs):
    run = Run(tmp_path, bare(load="os.kill(os.getpid(), signal.SIGKILL)"))
    with pytest.raises(TrainingError, match=r"did not start: signal 9\n"):
        run.results(jobs)


NOISE = """
print('{"epochs": [], "facts": {"from": "a library"}}')
print("[1, 2, 3]", flush=True)
sys.stderr.write("a warning\\n")
os.write(1, b"\\xff\\xfe no text \\x00\\n")
subprocess.run([sys.executable, "-c", "print('a child speaks')"], check=True)
"""


def test_what_libraries_print_never_mixes_with_the_answers(tmp_path, real, jobs):
    run = Run(tmp_path, real(NOISE, load=NOISE))
    results = run.results(jobs)
    assert fitted(results) == ["a", "b", "c"]
    assert all("pid" in result.facts for result in results)
    log = run.log.read_text(errors="replace")
    assert log.count("a child speaks") == 4
    assert "a warning" in log


def test_big_answers_big_jobs_and_big_logs(tmp_path, real, jobs):
    body = """
    facts["text"] = "é" * 2_000_000 + str(len(job.spec.ludwig["text"]))
    sys.stderr.write("x" * 5_000_000)
    print("y" * 5_000_000)
    """
    big = [replace(job, spec=model_spec(job.spec.name, ludwig={"text": "z" * 3_000_000})) for job in jobs]
    results = Run(tmp_path, real(body)).results(big)
    assert [result.facts["text"][-9:] for result in results] == ["éé3000000"] * 3
    assert [len(result.facts["text"]) for result in results] == [2_000_007] * 3


def test_the_process_computes_with_one_thread_and_fetches_nothing(tmp_path, bare, jobs, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "4")
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "HF_HUB_OFFLINE", "TQDM_DISABLE")
    run = Run(tmp_path, bare(f"facts.update({{name: os.environ[name] for name in {names}}})"))
    (result,) = run.results(jobs[:1])
    assert [result.facts[name] for name in names] == ["1"] * 4


# A parent that trains jobs whose fit never ends; its first argument is where the worker writes its pid.
PARENT = """
import sys
sys.path.insert(0, {repository!r})
from datetime import date
from pathlib import Path
from mlops_cli.training.local.ludwig_trainer import LudwigTrainer
from mlops_cli.training.trainer import TrainJob
from mlops_cli.training.local.workers import WorkerSettings
from mlops_cli.config.schemas.project import FeatureSpec, ModelSpec

spec = ModelSpec(name="a", team="red", ticker="ACME", exchange="XNYS", trainer="ludwig", target="log_return",
                 features=FeatureSpec(returns=(1,)))
folder = Path({folder!r})
job = TrainJob(spec, folder / "a.parquet", ("x",), date(2020, 1, 2), date(2021, 1, 4), 7, folder)
list(LudwigTrainer(WorkerSettings(folder / "graphs", folder / "logs", command={command!r})).fit([job], lambda _: None))
"""
FOR_EVER = """
(state / 'pid.tmp').write_text(str(os.getpid()))
(state / 'pid.tmp').rename(state / 'pid')
while True: pass
"""


@pytest.fixture
def parent(tmp_path, real):
    """A running parent whose worker is in the middle of a job, and that worker."""
    script, folder = tmp_path / "parent.py", tmp_path / "job"
    folder.mkdir()
    script.write_text(PARENT.format(repository=str(REPOSITORY), folder=str(folder), command=real(FOR_EVER)))
    with (tmp_path / "parent.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(script)], stdout=output, stderr=output, start_new_session=True, cwd=REPOSITORY
        )
    pid_file = tmp_path / "state" / "pid"
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not pid_file.exists():
        assert process.poll() is None, (tmp_path / "parent.log").read_text()
        assert time.monotonic() < deadline, "the worker did not take its job"
        time.sleep(0.02)
    working = psutil.Process(int(pid_file.read_text()))
    yield process, working
    for left in (process, working):
        if left.is_running() if isinstance(left, psutil.Process) else left.poll() is None:
            left.kill()
    process.wait(TIMEOUT_SECONDS)


def wait_for_end(orphan: psutil.Process) -> None:
    """Nobody's child ends as soon as it is a zombie: who collects it is not our affair."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with contextlib.suppress(psutil.NoSuchProcess):
        while orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"process {orphan.pid} goes on without its parent"
            time.sleep(0.02)


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_the_worker_ends_when_its_parent_is_killed(parent, death):
    process, working = parent
    assert working.is_running()
    os.kill(process.pid, death)
    process.wait(TIMEOUT_SECONDS)
    wait_for_end(working)


def test_ctrl_c_ends_both_and_the_parent_says_so(parent, tmp_path):
    process, working = parent
    # a terminal sends it to the whole group
    os.killpg(process.pid, signal.SIGINT)
    process.wait(TIMEOUT_SECONDS)
    wait_for_end(working)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in (tmp_path / "parent.log").read_text()


def test_the_worker_leaves_ctrl_c_to_its_parent(tmp_path, real, jobs):
    results = Run(tmp_path, real("import signal; os.kill(os.getpid(), signal.SIGINT)")).results(jobs)
    assert fitted(results) == ["a", "b", "c"]
