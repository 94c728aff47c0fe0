"""Which version answers: the share of each side of a traffic split, sticky per caller."""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from mlops_cli.serving.contract.served_version import ServedVersion

_GOLDEN = 0.6180339887498949  # its multiples modulo 1 fill [0, 1) evenly from the first on


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
        """The version for a caller: always the same one for one key; without a key in exact shares over time."""
        if caller is None:
            point = next(self._count) * _GOLDEN % 1.0
        else:
            digest = hashlib.blake2b(f"{caller}\0{self._model}".encode(), digest_size=8).digest()
            point = int.from_bytes(digest) / 2**64
        return self.versions[bisect_right(self._bounds, point)]


def side(key: str, versions: Sequence[ServedVersion], champion: str | None) -> ServedVersion | None:
    """The version that a route or a shadow means.

    Args:
        key: `champion`, `challenger` or a version.
        versions: of the model, newest first, at least one.
        champion: the recorded one; None (or one that is gone): the newest.

    Returns:
        None: a challenger where the newest is the champion, or a version that is not there.
    """
    known = {one.version: one for one in versions}
    accepted = known.get(champion or "", versions[0])
    if key == "champion":
        return accepted
    if key == "challenger":
        return versions[0] if versions[0] is not accepted else None
    return known.get(key)


def route(
    model: str, weights: Mapping[str, float], versions: Sequence[ServedVersion], champion: str | None
) -> Route | None:
    """The split that `serving.routes` asks for; the share of a version that is not there goes to the champion.

    Returns:
        None where no weight is above 0.
    """
    shares: dict[str, tuple[ServedVersion, float]] = {}
    accepted = side("champion", versions, champion)
    assert accepted is not None  # there is at least one version
    for key, weight in weights.items():
        version = side(key, versions, champion) or accepted
        before = shares.get(version.version, (version, 0.0))[1]
        shares[version.version] = (version, before + weight)
    positive = [(version, weight) for version, weight in shares.values() if weight > 0]
    return Route(model, positive) if positive else None
