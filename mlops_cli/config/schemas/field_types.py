"""The types that the schemas share: names, tickers, and their base class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints


@dataclass(frozen=True)
class Expect:
    """Goes into a type's `Annotated`: how messages call a value of the type ("expected `words`, was 7")."""

    words: str


Ticker = Annotated[
    str,
    StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9^][A-Za-z0-9.^=_-]{0,19}$"),
    Expect("a ticker such as AAPL or BRK-B"),
]
Slug = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$"),
    Expect("a name of lower-case letters, digits and . _ -"),
]
# no dots: DVC reads `branches.a.b` as two keys
BranchName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$"),
    Expect("a name of lower-case letters, digits and _ -"),
]


class StrictModel(BaseModel):
    """Base class of all schemas: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
