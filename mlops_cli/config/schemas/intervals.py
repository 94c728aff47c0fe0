"""The part `intervals` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlops_cli.config.schemas.field_types import StrictModel

Level = Annotated[float, Field(ge=50, le=99.9)]
MOST_FOR_ONE_STOCK = 99.8  # the largest of 504 errors holds the next one with a probability of 504/505


class Intervals(StrictModel):
    """Which prediction intervals come with every forecast, and what they are made of."""

    levels: tuple[Level, ...] = Field(
        (80.0, 95.0),
        min_length=1,
        max_length=4,
        description="how many percent of closes each interval holds, rising; with stock at most 99.8",
    )
    method: Literal["stock", "fleet"] = Field(
        "stock",
        description="errors that the intervals are made of: those of the stock, or of all stocks of the branch, which "
        "hold better in a crash",
    )

    @model_validator(mode="after")
    def _usable(self) -> Intervals:
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError("levels must rise, without repeats, e.g. levels: [80, 95]")
        if any(round(level, 2) != level for level in self.levels):
            raise ValueError("a level has at most two decimals, because columns are named after it, e.g. lower_99.5")
        if self.method == "stock" and self.levels[-1] > MOST_FOR_ONE_STOCK:
            raise ValueError(
                f"a level above {MOST_FOR_ONE_STOCK:g} needs more errors than those of one stock: use method: fleet"
            )
        return self
