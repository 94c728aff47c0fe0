"""The load of the server: how long requests wait in the queue, and how late the event loop is."""

from __future__ import annotations

from collections import deque

from mlops_cli.config.schemas.serving import Serving

_STANDING = 3  # samples that a delay must last to count: a single pause, as of the garbage collector, does not
_NEW = 0.3  # weight of the newest delay


class LoadLevel:
    """The step of the degradation policy that is taken, from 0 (none) to 3.

    The least delay of the last samples counts, smoothed: it measures a standing queue and ignores bursts, as in CoDel
    (Nichols and Jacobson 2012). A step is entered when the delay reaches its `enter_ms` and left when the delay falls
    below its `leave_ms`. A step that is switched off is never entered. The level is the highest step entered.

    Attributes:
        level: 0: full answers; 1: small variants; 2: cached answers too; 3: stale cached answers too, and answers that
            waited are marked `delayed`.
        queue_ms: smoothed wait of requests in the queue.
        lag_ms: smoothed lateness of the event loop.
    """

    def __init__(self, settings: Serving) -> None:
        self._steps = (settings.smaller_model, settings.cached_answer, settings.delayed_answer)
        self._samples: deque[tuple[float, float]] = deque(maxlen=_STANDING)
        self._taken = [False] * len(self._steps)
        self.level = 0
        self.queue_ms = 0.0
        self.lag_ms = 0.0

    def observe(self, queue_ms: float, lag_ms: float) -> None:
        """Add a sample of both delays in ms. A request meets both, one after the other, so their sum counts."""
        self._samples.append((queue_ms, lag_ms))
        queue_ms, lag_ms = min(self._samples, key=sum)
        self.queue_ms += _NEW * (queue_ms - self.queue_ms)
        self.lag_ms += _NEW * (lag_ms - self.lag_ms)
        delay = self.queue_ms + self.lag_ms
        for number, step in enumerate(self._steps):
            bound = step.leave_ms if self._taken[number] else step.enter_ms
            self._taken[number] = step.enabled and delay >= bound
        self.level = max((number + 1 for number, taken in enumerate(self._taken) if taken), default=0)
