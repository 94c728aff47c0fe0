"""Skips what this machine cannot run, with the reason."""

from __future__ import annotations

import os
import secrets
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mlops_cli.training.cluster.ray_cluster import RAY_SETTINGS

# how long an example takes is the machine's affair
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure() -> None:
    # a shell that starts the tests in the background has SIGINT ignored, which every process started here would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Ray reads these once per process, and Ludwig imports it: whichever test comes first. A token of this run's own,
    # for Ray would otherwise leave one in the user's home.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ.update({**RAY_SETTINGS, **token})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_gpu = pytest.mark.skip(reason="no CUDA device here")
    offline = pytest.mark.skip(reason="needs the internet: set MLOPS_TEST_ONLINE=1 to run it")
    long = pytest.mark.skip(reason="takes minutes: make test-soak, or set MLOPS_TEST_SOAK=1, to run it")
    for item in items:
        if item.get_closest_marker("soak") and os.environ.get("MLOPS_TEST_SOAK") != "1":
            item.add_marker(long)
        if item.get_closest_marker("gpu") and not Path("/proc/driver/nvidia/version").exists():
            item.add_marker(no_gpu)
        if item.get_closest_marker("online") and os.environ.get("MLOPS_TEST_ONLINE") != "1":
            item.add_marker(offline)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real prices that some machines have beside the project."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data on this machine")
    return folder
