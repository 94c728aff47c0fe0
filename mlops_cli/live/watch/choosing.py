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
    pools = {_pool(item) for item in due if item.reason == "features"}
    room = at_most = retrain.at_most
    overdue = 2 * (retrain.max_age_sessions or OLD)
    for item in due:
        pool = _pool(item)
        size = 0 if item.reason == "features" or pool in pools else sizes.get(pool, 1)
        alone = room == at_most or item.age > overdue
        if size <= room or (size > at_most > 0 and alone):
            chosen.append(item)
            room -= size
            pools.add(pool)
        else:
            waiting.append(item)
    return chosen, waiting


def _pool(item: Due) -> tuple[str, str]:
    """What is trained together with a model: its pool, or the model alone."""
    return item.branch, f"pool {group_of(item.spec)}" if item.spec.pool else item.spec.name


def _pool_sizes(branches: Mapping[str, Branch]) -> Counter[tuple[str, str]]:
    """How many models the training of each pool gives."""
    pooled = ((name, spec) for name, branch in branches.items() for spec in branch.models if spec.pool)
    return Counter((name, f"pool {group_of(spec)}") for name, spec in pooled)
