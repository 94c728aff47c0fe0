"""How loaded the server is, measured: how long requests wait in the queue, and how late the event loop is."""

from __future__ import annotations

from collections import deque

from mlops_cli.config.schemas.serving import Serving

_STANDING = 3  # samples: a delay counts that lasts so long; a pause of the garbage collector or a busy machine passes
_NEW = 0.3  # weight of the newest delay


class LoadLevel:
    """The step of the degradation policy that is taken, 0 (none) to 3.

    What counts is the least delay of the last samples, smoothed: that of a queue that stands, as in CoDel (Nichols and
    Jacobson 2012), not that of a burst. A step is taken when the delay reaches its `enter_ms` and left when it falls
    below its `leave_ms`; a switched-off step is never taken. The level is the highest step taken.

    Attributes:
        level: 0 full answers, 1 small variants, 2 cached answers as well, 3 stale ones as well, and waiting is said.
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
        """Take in a sample of both delays; a request meets one after the other."""
        self._samples.append((queue_ms, lag_ms))
        queue_ms, lag_ms = min(self._samples, key=sum)
        self.queue_ms += _NEW * (queue_ms - self.queue_ms)
        self.lag_ms += _NEW * (lag_ms - self.lag_ms)
        delay = self.queue_ms + self.lag_ms
        for number, step in enumerate(self._steps):
            bound = step.leave_ms if self._taken[number] else step.enter_ms
            self._taken[number] = step.enabled and delay >= bound
        self.level = max((number + 1 for number, taken in enumerate(self._taken) if taken), default=0)
