"""When a failed job is tried again, in how large a fleet, and when it is given up."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off with jitter.

    Attributes:
        tries: failed tries that are the job's own fault, after which it is dead.
        first_seconds: mean wait after the first failed try; each further one doubles it.
        longest_seconds: no wait is longer, before jitter.
        jitter: waits are multiplied by a random factor of 1 - jitter to 1 + jitter, so that jobs that failed together
            do not come back together.
        split: after each lost worker, a suspected job is trained in a fleet smaller by this factor.
    """

    tries: int = 5
    first_seconds: float = 5.0
    longest_seconds: float = 600.0
    jitter: float = 0.5
    split: int = 8

    def delay(self, attempts: int, chance: Random) -> float:
        """Seconds to wait after this number of attempts that failed or lost their worker."""
        doublings = min(max(attempts - 1, 0), 60)  # more would overflow, and is cut anyway
        mean = min(self.first_seconds * 2.0**doublings, self.longest_seconds)
        return mean * chance.uniform(1 - self.jitter, 1 + self.jitter)

    @property
    def longest_delay(self) -> float:
        """The longest wait that `delay` can give, in seconds."""
        return self.longest_seconds * (1 + self.jitter)

    def fleet_size(self, limit: int, lost: int) -> int:
        """How many jobs may be trained together that have lost their worker `lost` times.

        >>> [RetryPolicy().fleet_size(500, lost) for lost in range(5)]
        [500, 62, 7, 1, 1]
        """
        size = limit
        for _ in range(min(lost, 20)):
            size //= self.split
        return max(1, size)
