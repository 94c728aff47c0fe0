"""The order of models in reports, and which models are shown where there are too many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Rows = list[Mapping[str, Any]]


def best_and_worst(models: Sequence[Mapping[str, Any]], at_most: int, each: int) -> tuple[Rows, Rows]:
    """Order models by MAE / naive MAE; of many models, take those at both ends.

    Args:
        models: the `models` of a summary.
        at_most: up to this number all models are taken.
        each: beyond that, the number of models taken from each end.

    Returns:
        (best, worst), each ordered best first and ties by name, models without a ratio last. With `at_most` models or
        fewer: (all, none).
    """
    order = sorted(models, key=lambda row: (math.inf if row["mae_ratio"] is None else row["mae_ratio"], row["model"]))
    return (order, []) if len(order) <= at_most else (order[:each], order[-each:])
