"""A faster import of Ludwig, for processes that train."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def light_import(cuda: bool) -> Iterator[None]:
    """Import Ludwig inside this context: it takes two thirds of the usual time.

    Args:
        cuda: whether this process trains on a GPU. If not, `bitsandbytes` (8-bit optimizers for CUDA) is hidden:
            importing it is slow, and Ludwig works without it.
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
