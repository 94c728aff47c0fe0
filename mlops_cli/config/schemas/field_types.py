"""The types that the schemas share: names, tickers, and their base class."""

from __future__ import annotations

import re
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
_SLUG = r"[a-z0-9][a-z0-9._-]{0,63}"
Slug = Annotated[
    str,
    StringConstraints(pattern=f"^{_SLUG}$"),
    Expect("a name of lower-case letters, digits and . _ -"),
]
# no dots: DVC reads `branches.a.b` as two keys
BranchName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$"),
    Expect("a name of lower-case letters, digits and _ -"),
]


def is_slug(text: str) -> bool:
    r"""Whether a text is a name that may become a part of a path: of a team, a model or a scenario.

    >>> is_slug("red-2"), is_slug("../red"), is_slug("red\n")
    (True, False, False)
    """
    return re.fullmatch(_SLUG, text) is not None


class StrictModel(BaseModel):
    """Base class of all schemas: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
