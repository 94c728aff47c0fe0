"""What a model got to see, as a hash: the same row gives the same hash, also years later and in another program."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

_FIRST = date(1970, 1, 1)
_DAY = 86_400


def row_hash(inputs: Sequence[str], session: date, target: date, values: npt.NDArray[np.float32]) -> str:
    """A sha256 of a feature row.

    It covers the session, the target session, and the names and values of the inputs, in float32 as the graph gets
    them. The last close is not in it: a split changes it, but not the inputs.

    Args:
        inputs: names of the columns of the model.
        session: of the row.
        target: the session that it forecasts.
        values: (inputs,).
    """
    digest = hashlib.sha256("\0".join(inputs).encode())
    days = np.array([(day - _FIRST).days * _DAY for day in (session, target)], "<i8")
    numbers = values.astype("<f4") + np.float32(0)  # no -0.0
    digest.update(days.tobytes() + numbers.tobytes())
    return digest.hexdigest()
