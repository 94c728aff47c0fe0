"""The queue of training jobs, as a whole."""

from __future__ import annotations

from random import Random

from mlops_cli.live.jobs.database import Database
from mlops_cli.live.jobs.leases import Leases, LeaseTimes
from mlops_cli.live.jobs.retries import RetryPolicy
from mlops_cli.live.jobs.submissions import Limits, Submissions


class JobQueue(Submissions, Leases):
    """A queue of training jobs in a database; any number of processes may use it at once.

    Every change is one transaction: a process that is killed leaves it done or not done.

    Args:
        chance: the source of random waits; give a seeded one in tests.
    """

    def __init__(
        self,
        database: Database,
        limits: Limits | None = None,
        policy: RetryPolicy | None = None,
        times: LeaseTimes | None = None,
        chance: Random | None = None,
    ) -> None:
        super().__init__(database)
        self.times = times or LeaseTimes()
        self._limits = limits or Limits()
        self._policy = policy or RetryPolicy()
        self._chance = chance or Random()
