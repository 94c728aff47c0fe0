"""Notice that a cluster does nothing although it has tasks of a run."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 300.0
"""How long a cluster may be idle with tasks to do. Sending their tables to the nodes takes a part of it."""


class IdleWatch:
    """Measures for how long the cluster has been idle.

    Args:
        patience: seconds that it may be idle.
        clock: gives seconds from any start.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.patience = patience
        self._clock = clock
        self._since = clock()

    def restart(self) -> None:
        """Measure from now on."""
        self._since = self._clock()

    def is_over(self, idle: bool) -> bool:
        """Whether the cluster has been idle for longer than the patience; then measuring starts again.

        Args:
            idle: whether it is idle now. If not, measuring starts again.
        """
        over = idle and self._clock() - self._since > self.patience
        if over or not idle:
            self.restart()
        return over
