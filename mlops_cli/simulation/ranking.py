"""Which models to show first, and which to leave out where there are too many to show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Rows = list[Mapping[str, Any]]


def best_and_worst(models: Sequence[Mapping[str, Any]], at_most: int, each: int) -> tuple[Rows, Rows]:
    """Order models by MAE / naive MAE and keep both ends.

    Args:
        models: the `models` of a summary.
        at_most: so many are kept whole.
        each: how many of each end are kept beyond that.

    Returns:
        (best, worst), both best first and ties by name, models without a ratio last; with `at_most` models or fewer
        (all, none).
    """
    order = sorted(models, key=lambda row: (math.inf if row["mae_ratio"] is None else row["mae_ratio"], row["model"]))
    return (order, []) if len(order) <= at_most else (order[:each], order[-each:])
