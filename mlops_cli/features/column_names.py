"""Names of the input columns that a model's graph needs beside those of its network, and what marks an unknown width.

Nothing is imported here, so that a server knows these names without loading what computes the columns.
"""

from __future__ import annotations

from collections.abc import Sequence

ANNOUNCED = "announced_dividend"
"""Input column: the dividend of the next session, as it was known at the close of the row, over that close; else 0."""
WIDEST = 10.0
"""Width of an interval whose level needs more sessions than there are: it holds every price that is possible."""


def width_columns(levels: Sequence[float]) -> tuple[str, ...]:
    """Names of the input columns with the widths, by level: `width_80`, `width_95`."""
    return tuple(f"width_{level:g}" for level in levels)
