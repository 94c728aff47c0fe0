"""The CUDA devices that torch can use. A child process imports torch, because that takes seconds and 500 MB."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mlops_cli.errors import ConfigError

DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/proc/driver/nvidia/version"))
QUESTION = "import torch; print(torch.cuda.device_count())"
TIMEOUT_SECONDS = 120


def count_cuda_devices(drivers: Sequence[Path] = DRIVER_FILES, python: str = sys.executable) -> int:
    """Number of CUDA devices that the torch of `python` can use; 0 at once if no file of a GPU driver exists."""
    if not any(path.exists() for path in drivers):
        return 0
    try:
        answer = subprocess.run(
            [python, "-c", QUESTION], capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return 0  # a driver that hangs
    words = answer.stdout.split()
    return int(words[-1]) if answer.returncode == 0 and words and words[-1].isdigit() else 0


def no_cuda_device_error() -> ConfigError:
    """The error for `training.device: cuda` on a machine without a usable GPU."""
    return ConfigError(
        "training.device: cuda was requested, but torch finds no CUDA device on this machine",
        "set training.device to auto or cpu; `mlops doctor` says which GPUs the driver knows",
    )


def visible_cuda_devices(count: int | None = None) -> tuple[str, ...]:
    """The name of each usable device, as CUDA_VISIBLE_DEVICES would list it; `count` None: torch counts them."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    count = count_cuda_devices() if count is None else count
    return tuple(named[:count]) if named else tuple(str(number) for number in range(count))
