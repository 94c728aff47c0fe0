"""The servers that are compared: how to install, configure, start, measure and end each."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.bench_processes import BenchError, clean_environment, end_tree, measure
from tests.bench.bench_projects import BINARIES, ROOT
from tests.bench.serve_models import Collection, Seed

FLOOR = Path(__file__).with_name("serve_floor.py")
RUNTIME = Path(__file__).with_name("serve_mlserver.py")
UV = ROOT / ".tools" / "bin" / "uv"
# uvloop: with 0.23, which a new environment gets, MLServer does not start its inference workers
MLSERVER = ("mlserver==1.7.1", "uvloop==0.21.*", "onnxruntime", "numpy")
INSTALL_SECONDS = 240
START_SECONDS = 120
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mlops-bench"


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        address: `http://127.0.0.1:port`.
        process: its parent process.
        start_seconds: from its start until it answers that it is ready.
    """

    address: str
    process: subprocess.Popen[bytes]
    start_seconds: float

    @property
    def memory(self) -> int:
        """Resident bytes of the whole process tree; memory that two processes share counts twice."""
        whole = 0
        first = psutil.Process(self.process.pid)
        for process in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                whole += process.memory_info().rss
        return whole


@dataclass(frozen=True)
class Peer:
    """One kind of server.

    Attributes:
        name: for the tables.
        command: from a collection, a port and a temporary folder to the command line.
        ready: path that answers 200 when the server is ready.
    """

    name: str
    command: Callable[[Collection, int, Path], Sequence[str | Path]]
    ready: str = "/v2/health/ready"


def ours(*options: str) -> Peer:
    """`mlops serve`, with optional further options."""

    def command(collection: Collection, port: int, folder: Path) -> Sequence[str | Path]:
        return [BINARIES / "mlops", "serve", "--port", str(port), *options]

    return Peer("mlops serve", command)


def floor(stack: str) -> Peer:
    """A variant of serve_floor.py, in this environment."""

    def command(collection: Collection, port: int, folder: Path) -> Sequence[str | Path]:
        return [BINARIES / "python", FLOOR, stack, collection.models, str(port)]

    return Peer({"asgi": "floor, bare ASGI", "fastapi": "floor, FastAPI"}[stack], command)


def ludwig_serve(seed: Seed, additions: Path) -> Peer:
    """`ludwig serve`, which serves one model: the seed."""

    def command(collection: Collection, port: int, folder: Path) -> Sequence[str | Path]:
        serve = [BINARIES / "ludwig", "serve", "-m", seed.folder / "ludwig", "-H", "127.0.0.1", "-p", str(port)]
        return ["env", f"PYTHONPATH={additions}", *serve]

    return Peer("ludwig serve", command, ready="/")


def mlserver(environment: Path) -> Peer:
    """MLServer without inference workers: one process, which is its fastest setting here."""

    def command(collection: Collection, port: int, folder: Path) -> Sequence[str | Path]:
        served = _mlserver_folder(collection, port, folder)
        return [environment / "bin" / "mlserver", "start", served]

    return Peer("MLServer 1.7.1", command)


def install_mlserver(log: Path) -> Path:
    """An environment with MLServer. Raises BenchError if it cannot be installed."""
    folder = CACHE / "mlserver-1.7.1"
    make = ["venv", "--quiet", "--python", sys.executable, folder]
    fill = ["pip", "install", "--quiet", "--compile-bytecode", "--python", folder / "bin" / "python", *MLSERVER]
    return _install(folder, log, make, fill)


def install_forms(log: Path) -> Path:
    """A folder with the package that `ludwig serve` needs and Ludwig does not install. Raises BenchError."""
    folder = CACHE / "ludwig-serve"
    return _install(folder, log, ["pip", "install", "--quiet", "--target", folder, "python-multipart"])


def _install(folder: Path, log: Path, *commands: Sequence[str | Path]) -> Path:
    """Install once into the user's cache folder."""
    if (folder / ".ready").is_file():
        return folder
    if not UV.is_file():
        raise BenchError("no .tools/bin/uv: run make setup")
    shutil.rmtree(folder, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    for command in commands:  # with the user's package index settings
        measure([UV, *command], cwd=CACHE, log=log, environment=os.environ, seconds=INSTALL_SECONDS)
    (folder / ".ready").touch()
    return folder


@contextlib.contextmanager
def running(peer: Peer, collection: Collection, folder: Path) -> Iterator[Server]:
    """Start a server, and end all its processes afterwards.

    Args:
        peer: the server.
        collection: models to serve.
        folder: for its log and its settings; must not exist.

    Raises:
        BenchError: it ended, or was not ready in time.
    """
    folder.mkdir(parents=True)
    port = free_port()
    command = [str(part) for part in peer.command(collection, port, folder)]
    address, began = f"http://127.0.0.1:{port}", time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=collection.root,
            env=clean_environment(BINARIES),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, address + peer.ready, folder / "log")
        yield Server(address, process, time.perf_counter() - began)
    finally:
        end_tree(process.pid)
        process.wait()


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BenchError(f"it ended with code {process.returncode}:\n{_tail(log)}")
        with contextlib.suppress(OSError, urllib.error.HTTPError), urllib.request.urlopen(address, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.02)
    raise BenchError(f"not ready after {START_SECONDS} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def _mlserver_folder(collection: Collection, port: int, folder: Path) -> Path:
    """Write settings for the server and for each model, and the code that runs the models."""
    served = folder / "served"
    served.mkdir()
    shutil.copyfile(RUNTIME, served / RUNTIME.name)
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,
    }
    (served / "settings.json").write_text(json.dumps(settings))
    for name in collection.names:
        graph = str(collection.models / name / "model.onnx")
        model = {"name": name, "implementation": f"{RUNTIME.stem}.OnnxModel", "parameters": {"uri": graph}}
        (served / name).mkdir()
        (served / name / "model-settings.json").write_text(json.dumps(model))
    return served
