"""Traffic splits between versions of a model; a caller always gets the same side."""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from mlops_cli.serving.contract.served_version import ServedVersion

_GOLDEN = 0.6180339887498949  # its multiples modulo 1 fill [0, 1) evenly from the beginning


class Route:
    """A split of requests over versions of one model."""

    def __init__(self, model: str, shares: Sequence[tuple[ServedVersion, float]]) -> None:
        """Split by `shares`: versions, each with a weight >= 0, not all 0."""
        self._model = model
        self.versions = tuple(version for version, _ in shares)
        total = sum(weight for _, weight in shares)
        self._bounds = [bound / total for bound in itertools.accumulate(weight for _, weight in shares)][:-1]
        self._count = itertools.count(1)

    def pick(self, caller: str | None) -> ServedVersion:
        """The version for a caller: always the same for one key; without a key, versions take turns by their shares."""
        if caller is None:
            point = next(self._count) * _GOLDEN % 1.0
        else:
            digest = hashlib.blake2b(f"{caller}\0{self._model}".encode(), digest_size=8).digest()
            point = int.from_bytes(digest) / 2**64
        return self.versions[bisect_right(self._bounds, point)]


def side(key: str, versions: Sequence[ServedVersion], champion: str | None) -> ServedVersion | None:
    """The version that a route or a shadow means by `champion`, `challenger` or a version, of versions newest first.

    Where no champion is recorded, or it is gone, the newest version counts. None for a challenger where the newest
    version is the champion, and for a version that is not there.
    """
    by_number = {version.version: version for version in versions}
    accepted = by_number.get(champion or "", versions[0])
    if key == "champion":
        return accepted
    if key == "challenger":
        return versions[0] if versions[0] is not accepted else None
    return by_number.get(key)


def route(
    model: str, weights: Mapping[str, float], versions: Sequence[ServedVersion], champion: str | None
) -> Route | None:
    """The split of `serving.routes`; None: no weight is above 0. A missing version's share goes to the champion."""
    shares: dict[str, tuple[ServedVersion, float]] = {}
    accepted = side("champion", versions, champion)
    assert accepted is not None  # there is at least one version
    for key, weight in weights.items():
        version = side(key, versions, champion) or accepted
        before = shares.get(version.version, (version, 0.0))[1]
        shares[version.version] = (version, before + weight)
    positive = [(version, weight) for version, weight in shares.values() if weight > 0]
    return Route(model, positive) if positive else None
