"""How many CUDA devices torch can use, asked in a process of its own: importing torch takes seconds and 500 MB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/proc/driver/nvidia/version"))
QUESTION = "import torch; print(torch.cuda.device_count())"
PATIENCE_SECONDS = 120


def count_cuda_devices() -> int:
    """CUDA devices that this environment's torch sees; 0 at once where there is no NVIDIA driver."""
    if not any(path.exists() for path in DRIVER_FILES):
        return 0
    try:
        asked = subprocess.run(
            [sys.executable, "-c", QUESTION], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return 0  # a driver that hangs
    words = asked.stdout.split()
    return int(words[-1]) if asked.returncode == 0 and words and words[-1].isdigit() else 0


def visible_cuda_devices() -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES calls each of them, so that a process can be given one."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    count = count_cuda_devices()
    return tuple(named[:count]) if named else tuple(str(number) for number in range(count))
