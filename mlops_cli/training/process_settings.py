"""The environment of every training process (started locally, by torchrun or by Ray), and its import of Ludwig."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# One thread: small models gain nothing from more, and a model does not depend on the number of cores.
# MKL_ENABLE_INSTRUCTIONS: with AVX-512 or SSE, MKL multiplies batches of matrices by kernels that depend on the size of
# the batch, so that a model's last bits would depend on how many models train beside it. Its AVX2 kernels do not, and
# they multiply the small matrices of a fleet as fast (docs/training.md).
ARITHMETIC = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
# These choose other kernels of MKL and torch, which do depend on the size of the batch.
DROPPED = ("MKL_CBWR", "ATEN_CPU_CAPABILITY")

# HF_HUB_OFFLINE: nothing is ever fetched while training. MALLOC_*: without these glibc hands the memory of every step
# back to the system and takes it again, page by page, which doubles the time of a fleet.
PROCESS_SETTINGS = {
    **ARITHMETIC,
    "TQDM_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}


def settle_arithmetic() -> None:
    """Make this process compute as every training process does, and ignore other settings in its environment.

    Call it before torch is imported: MKL and torch read the environment once, when they first compute.
    """
    os.environ.update(ARITHMETIC)
    for name in DROPPED:
        os.environ.pop(name, None)


@contextmanager
def light_import(cuda: bool) -> Iterator[None]:
    """Import Ludwig inside this context: it takes two thirds of the usual time.

    Without CUDA, `bitsandbytes` (8-bit optimizers for CUDA) is hidden: its import is slow, and Ludwig works without it.
    """
    import yaml

    yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc, assignment]  # Ludwig parses 0.5 MB of its own YAML
    if not cuda:
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    gc.disable()  # an import makes no garbage worth looking for
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
