"""Figures as text, for tables and sentences: "-" stands for an undefined figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def figure(value: float | None, spec: str) -> str:
    """A figure as `spec` formats it."""
    return "-" if value is None else format(value, spec)


def price(value: float | None) -> str:
    """A price with at least four digits: models differ from naive in the third or fourth."""
    if value is None:
        return "-"
    return f"{value:.{max(0, 3 - math.floor(math.log10(value))) if value > 0 else 3}f}"


def percent(share: float | None, digits: int = 1, sign: str = "") -> str:
    """A share in percent, without the percent sign."""
    return "-" if share is None else f"{100 * share:{sign}.{digits}f}"


def direction(row: Mapping[str, Any]) -> str:
    """The direction accuracy of a row of the summary in percent, with its standard error."""
    if row["direction_accuracy"] is None:
        return "-"
    share, error = percent(row["direction_accuracy"]), row["direction_se"]
    return share if error is None else f"{share} ±{percent(error)}"


def p_value(value: float | None) -> str:
    """A p-value with three digits, without the leading zero."""
    return "-" if value is None else "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
