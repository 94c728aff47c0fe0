"""How many of the models that are due a pass trains, and which of them wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mlops_cli.config.load import Branch
from mlops_cli.config.schemas.live import LiveRetrain
from mlops_cli.live.watch.due import Due
from mlops_cli.pipeline.stages.train_plan import group_of

OLD = 21
"""Sessions after which a version is old where age is no reason to train it again."""


def choose(due: Sequence[Due], branches: Mapping[str, Branch], retrain: LiveRetrain) -> tuple[list[Due], list[Due]]:
    """Divide the models that are due, in order, into those that this pass trains, and those that wait.

    A pool counts with all of its models, since one training gives them all. One that is larger than `at_most` is
    trained alone, or beside others once it is twice as old as a version may be: else others might be due before it for
    ever. Models that cannot forecast until they are trained again never wait, and do not count.
    """
    chosen: list[Due] = []
    waiting: list[Due] = []
    sizes = _pool_sizes(branches)
    pools = {pool for item in due if item.reason == "features" and (pool := _pool(item))}
    room = at_most = retrain.at_most
    overdue = 2 * (retrain.max_age_sessions or OLD)
    for item in due:
        pool = _pool(item)
        size = 0 if pool in pools or item.reason == "features" else sizes[pool] if pool else 1
        alone = room == at_most or item.age > overdue
        if size <= room or (size > at_most > 0 and alone):
            chosen.append(item)
            room -= size
            pools |= {pool} if pool else set()
        else:
            waiting.append(item)
    return chosen, waiting


def _pool(item: Due) -> tuple[str, str] | None:
    return (item.branch, group_of(item.spec)) if item.spec.pool else None


def _pool_sizes(branches: Mapping[str, Branch]) -> Counter[tuple[str, str]]:
    """How many models the training of each pool gives."""
    return Counter((name, group_of(spec)) for name, branch in branches.items() for spec in branch.models if spec.pool)
