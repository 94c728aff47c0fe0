"""Models of a pool (`pool: true`) come out of one training: what that means for fingerprints and for what is trained.

The fingerprint of each is made of its own and those of all members that can be trained: rows that change in one, a
member that comes, goes, or has too few rows, train the whole pool again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.models.manifest import fingerprint
from mlops_cli.pipeline.stages.train_plan import Plan, group_of


def trained_together(models: Sequence[ModelSpec], branch: Sequence[ModelSpec]) -> list[list[ModelSpec]]:
    """The models, one list for each training: a pool with all its members in the branch, every other model alone.

    Args:
        models: those asked for.
        branch: all of the branch.
    """
    tasks: dict[str, list[ModelSpec]] = {}
    for spec in models:
        if not spec.pool:
            tasks[spec.name] = [spec]
        elif (pool := f"pool {group_of(spec)}") not in tasks:
            tasks[pool] = [other for other in branch if other.pool and group_of(other) == group_of(spec)]
    return list(tasks.values())


def pool_mark(marks: Iterable[str]) -> str:
    """Fingerprint of a pool, out of those of its members."""
    return fingerprint(sorted(marks))


def member_mark(own: str, pool: str) -> str:
    """Fingerprint of a pool's member, out of its own and the pool's."""
    return fingerprint([own, pool])


def with_pool_marks(plans: Sequence[Plan]) -> list[Plan]:
    """The plans of all members of one pool that can be trained, each with the fingerprint of a member."""
    pool = pool_mark(plan.mark for plan in plans)
    return [replace(plan, mark=member_mark(plan.mark, pool)) for plan in plans]
