"""The order of models in reports, and the choice of models where there are too many to show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Rows = list[Mapping[str, Any]]


def best_and_worst(models: Sequence[Mapping[str, Any]], at_most: int, each: int) -> tuple[Rows, Rows]:
    """Order models by MAE / naive MAE; if there are many, take the best and the worst.

    Args:
        models: the `models` of a summary.
        at_most: take all models up to this number.
        each: if there are more, take this number from each end.

    Returns:
        (best, worst), each ordered best first and ties by name, models without a ratio last. With `at_most` models or
        fewer: (all, none).
    """
    order = sorted(models, key=lambda row: (math.inf if row["mae_ratio"] is None else row["mae_ratio"], row["model"]))
    return (order, []) if len(order) <= at_most else (order[:each], order[-each:])
