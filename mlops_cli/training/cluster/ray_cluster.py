"""Connect to a Ray cluster, or start one on this machine that ends with the connection."""

from __future__ import annotations

import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

import mlops_cli
from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.training.process_settings import PROCESS_SETTINGS

TASK_BYTES = 1_500_000_000  # memory that a task asks for: Ludwig, and a fleet of usual size
STORE_BYTES = 1_000_000_000  # shared memory of a cluster on this machine
REACH_SECONDS = 10  # for a TCP connection
TRIES = 3  # of a connection that the server refuses to set up
ANSWER_SECONDS = 30  # for a Ray server to answer, also on a busy machine
SETTLE_SECONDS = 2.0  # for the nodes to say which objects of the last task they freed; they do so once a second
CLIENT = "ray://"

# Ray reads these when it is imported. Otherwise it reports its use over the internet, waits a minute for a node on this
# machine if there is none, and prints messages about dead processes between our lines.
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_server_request_timeout_seconds": "15",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}


@contextmanager
def connected(address: str | None, workers: int | None, patience: float = ANSWER_SECONDS) -> Iterator[None]:
    """Connect to the cluster at `address` and send this package's code to its nodes.

    Args:
        address: ray://HOST:PORT or HOST:PORT; None: start a cluster on this machine, which ends with this context.
        workers: largest number of tasks at once on a cluster that is started here; None: one per core.
        patience: seconds to wait for the answer of a server that accepts connections.

    Raises:
        ConfigError: Ray is not installed, or `address` is not an address.
        ServiceError: no cluster answers there, or none starts.
    """
    os.environ.update(RAY_SETTINGS)
    try:
        import ray
    except ImportError as error:
        hint = "run: pip install 'mlops-cli[ray]'"
        raise ConfigError("training.executor: ray asked for, but Ray is not installed", hint) from error
    if address is not None:
        _reach(address, patience)
    where: dict[str, Any] = {"address": address}
    if address is None:  # "local": also if RAY_ADDRESS names a cluster
        where = {
            "address": "local",
            "num_cpus": workers,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
        }
    code = {"py_modules": [str(Path(mlops_cli.__file__).parent)], "excludes": ["__pycache__"]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is raised as well
            environment = {**code, "env_vars": PROCESS_SETTINGS}
            _initialise({**where, "runtime_env": environment})
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        ray.shutdown()
        raise _refusal(address, str(error)) from error
    try:
        yield
        # Ray (2.60) answers its nodes from a thread that outlives the connection. If it is still to answer when the
        # connection ends, it reads freed memory. Then this process dies, or answers no node in its later connections.
        time.sleep(SETTLE_SECONDS)
    except ConnectionError as error:  # Ray's client lost its server
        raise _refusal(address, f"the connection was lost: {error}") from error
    finally:
        ray.shutdown()


def _initialise(options: Mapping[str, Any]) -> None:
    """Call `ray.init`; again if the server of a Ray client gave up, as it may while it looks at its own processes."""
    import ray

    tries = Retrying(
        retry=retry_if_exception_type(ConnectionAbortedError),
        stop=stop_after_attempt(TRIES),
        after=lambda _: ray.shutdown(),
        reraise=True,
    )
    tries(ray.init, **options, log_to_driver=False, logging_level=logging.CRITICAL)


def devices(cuda: bool) -> int:
    """Number of tasks that the connected cluster can run at once with its present nodes.

    Raises:
        ServiceError: no node is large enough for a task.
    """
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    count = count_places(alive, cuda)
    if not count:
        raise ServiceError(
            f"none of the {len(alive)} nodes of the Ray cluster offers a task what it needs: 1 CPU, "
            f"{'1 GPU, ' if cuda else ''}{TASK_BYTES / 1e9:.1f} GB of memory",
            "look at them with: ray status",
        )
    return count


def count_places(nodes: Sequence[Mapping[str, float]], cuda: bool) -> int:
    """Number of tasks that fit on the nodes at once; each needs a GPU if `cuda`.

    A node is given by its number of "CPU" and "GPU" and its bytes of "memory". A missing entry counts as 0.
    """
    needs = {"CPU": 1, "memory": TASK_BYTES, **({"GPU": 1} if cuda else {})}
    return sum(min(int(node.get(name, 0) // need) for name, need in needs.items()) for node in nodes)


def has_gpus() -> bool:
    """Whether a node of the connected cluster has a GPU."""
    import ray

    offered: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return offered.get("GPU", 0) >= 1


def is_idle() -> bool:
    """Whether every CPU of the connected cluster is free. Each task of ours uses one from the moment it gets a node."""
    import ray

    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    offered: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return free.get("CPU", 0) >= offered.get("CPU", 0)


def _reach(address: str, patience: float) -> None:
    """Fail early if no server answers. Ray itself would wait up to two minutes and then end this process.

    Raises:
        ConfigError: `address` is not an address.
        ServiceError: no gRPC server answers there; every Ray server is one.
    """
    import grpc  # type: ignore[import-untyped]

    target = address.removeprefix(CLIENT)
    host, _, port = target.rpartition(":")
    if not host or not port.isdigit():
        hint = f"write {CLIENT}HOST:PORT or HOST:PORT"
        raise ConfigError(f"training.ray_address: {address} is no address of a Ray cluster", hint)
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except OSError as error:
        raise _refusal(address, str(error)) from error
    if os.environ.get("RAY_USE_TLS") == "1":
        return  # it would not answer without the certificates
    with grpc.insecure_channel(target) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=patience)
        except grpc.FutureTimeoutError as error:
            raise _refusal(address, f"no Ray server answered within {patience:g} s") from error


def _refusal(address: str | None, reason: str) -> ServiceError:
    words = " ".join(reason.split())
    if address is None:
        return ServiceError(f"no Ray cluster could be started here: {words}", "set training.executor: local")
    if address.startswith(CLIENT):
        port = "its client port (10001 unless set)"
    else:
        port = f"its GCS port (6379 unless set) and this machine a node of it (else use {CLIENT}HOST:10001)"
    return ServiceError(
        f"training.ray_address: the Ray cluster at {address} cannot be used: {words}",
        f"see there with `ray status` whether it runs, and that this is {port}; if it wants a token, "
        "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN; or set training.executor: local",
    )
