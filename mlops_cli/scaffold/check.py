"""The result of one check of `mlops doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """The result of one check, and what to do about it; a warning does not stop a run, a failure does."""

    name: str
    status: Literal["ok", "warning", "failed"]
    found: str
    hint: str = ""
