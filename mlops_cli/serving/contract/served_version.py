"""A version of a model, with the facts that serving needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True, slots=True, eq=False)
class ServedVersion:
    """A finished, complete version of a model, as its manifest describes it.

    Attributes:
        small: name of the model of the same branch that answers for it under load.
    """

    version: str
    sha: str
    folder: Path
    inputs: tuple[str, ...]
    ticker: str
    team: str
    trained_until: date
    shrinkage: float
    small: str | None
