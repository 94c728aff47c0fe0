"""Pooled models (`pool: true` in their config): one training gives all models of a pool.

So a pooled model's fingerprint depends on the rows and settings of all members that can be trained. When the rows of
one member change, or a member joins, leaves, or has too few rows, the whole pool is trained again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.models.manifest import fingerprint
from mlops_cli.pipeline.stages.train_plan import Plan, group_of


def trained_together(models: Sequence[ModelSpec], branch: Sequence[ModelSpec]) -> list[list[ModelSpec]]:
    """Group the models asked for by training: a pool with all of its members in `branch`, every other model alone."""
    tasks: dict[str, list[ModelSpec]] = {}
    for spec in models:
        if not spec.pool:
            tasks[spec.name] = [spec]
        elif (pool := f"pool {group_of(spec)}") not in tasks:
            tasks[pool] = [other for other in branch if other.pool and group_of(other) == group_of(spec)]
    return list(tasks.values())


def pool_mark(marks: Iterable[str]) -> str:
    """Fingerprint of a pool: a hash of its members' own fingerprints, in any order."""
    return fingerprint(sorted(marks))


def member_mark(own: str, pool: str) -> str:
    """Fingerprint of a member: a hash of its own fingerprint and that of the pool."""
    return fingerprint([own, pool])


def with_pool_marks(plans: Sequence[Plan]) -> list[Plan]:
    """The plans with members' fingerprints; `plans` are of all members of one pool that can be trained."""
    pool = pool_mark(plan.mark for plan in plans)
    return [replace(plan, mark=member_mark(plan.mark, pool)) for plan in plans]
