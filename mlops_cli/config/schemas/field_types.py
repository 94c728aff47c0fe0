"""What the schemas are made of: names, tickers, and their common base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints


@dataclass(frozen=True)
class Expect:
    """Put into a type's `Annotated`: what a message calls a value of this type ("expected `words`, was 7")."""

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


class Strict(BaseModel):
    """Base of every schema here: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
