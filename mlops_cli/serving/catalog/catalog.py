"""The served models and traffic splits. A catalog is immutable: if a model folder changes, a new one replaces it."""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mlops_cli.serving.contract.messages import IndexEntry, ServedVersion, UnknownModelError

_GOLDEN = 0.6180339887498949  # golden ratio - 1: even a few multiples modulo 1 spread evenly over [0, 1)


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
        """The version for a caller key, always the same; without a key, versions alternate in proportion to shares."""
        if caller is None:
            point = next(self._count) * _GOLDEN % 1.0
        else:
            digest = hashlib.blake2b(f"{caller}\0{self._model}".encode(), digest_size=8).digest()
            point = int.from_bytes(digest) / 2**64
        return self.versions[bisect_right(self._bounds, point)]


def version_for_role(key: str, versions: Sequence[ServedVersion], champion: str | None) -> ServedVersion | None:
    """Find the version that the `key` of a route or a shadow means: `champion`, `challenger` or a version number.

    `versions` are newest first. If no champion is recorded, or its version is gone, the newest version is the champion.
    The challenger is the newest version. None if that version is the champion, or if no version has this number.
    """
    by_number = {version.version: version for version in versions}
    champion_version = by_number.get(champion or "", versions[0])
    if key == "champion":
        return champion_version
    if key == "challenger":
        return versions[0] if versions[0] is not champion_version else None
    return by_number.get(key)


def route(
    model: str, weights: Mapping[str, float], versions: Sequence[ServedVersion], champion: str | None
) -> Route | None:
    """The split by `serving.routes`; None if all weights are 0. The champion gets the share of a missing version."""
    shares: dict[str, tuple[ServedVersion, float]] = {}
    champion_version = version_for_role("champion", versions, champion)
    assert champion_version is not None  # there is at least one version
    for key, weight in weights.items():
        version = version_for_role(key, versions, champion) or champion_version
        before = shares.get(version.version, (version, 0.0))[1]
        shares[version.version] = (version, before + weight)
    positive = [(version, weight) for version, weight in shares.values() if weight > 0]
    return Route(model, positive) if positive else None


class ModelKey(NamedTuple):
    """A model by its branch of params.yaml and its name in that branch."""

    branch: str
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A model and its versions.

    Attributes:
        name: the name that callers use.
        slug: its name in the branch.
        versions: newest first; empty where all are quarantined.
        quarantined: versions that cannot be served, each with its reason.
        default: the version that answers if there is no route; None if there is no version.
        route: the traffic split, if any.
        shadow: a version whose answers are only compared, never returned.
        verdicts: by version, the verdict of the evaluation on its skill; versions without a verdict are left out.
    """

    name: str
    branch: str
    slug: str
    versions: tuple[ServedVersion, ...]
    quarantined: tuple[IndexEntry, ...] = ()
    default: ServedVersion | None = None
    route: Route | None = None
    shadow: ServedVersion | None = None
    verdicts: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> ModelKey:
        """Its branch, and its name there."""
        return ModelKey(self.branch, self.slug)

    def version(self, number: str) -> ServedVersion | None:
        """The version of that number, if it can be served."""
        return next((version for version in self.versions if version.version == number), None)

    @property
    def ticker(self) -> str | None:
        """Ticker of its newest version; None where all versions are quarantined."""
        return self.versions[0].ticker if self.versions else None


@dataclass(frozen=True, slots=True, eq=False)
class ServedEnsemble:
    """A weighted average of models; the weights add up to 1. If it cannot be served, `reason` says why."""

    name: str
    members: tuple[tuple[ServedModel, float], ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """All that is served.

    Attributes:
        models: by the name that callers use.
        models_by_key: every model, by branch and name.
        ambiguous_names: model names of several branches, each with the full names that callers must use instead.
        ensembles: by name; none has the name of a model.
    """

    models: dict[str, ServedModel] = field(default_factory=dict)
    ambiguous_names: dict[str, list[str]] = field(default_factory=dict)
    models_by_key: dict[ModelKey, ServedModel] = field(default_factory=dict)
    ensembles: dict[str, ServedEnsemble] = field(default_factory=dict)

    def model(self, name: str) -> ServedModel:
        """A model by name; raises the error of `unknown` if there is none."""
        model = self.models.get(name)
        if model is None:
            raise self.unknown(name)
        return model

    def unknown(self, name: str) -> UnknownModelError:
        """The error for a name that is not served."""
        if name in self.ambiguous_names:
            names = ", ".join(self.ambiguous_names[name])
            return UnknownModelError(f"{name[:100]!r} is a model of several branches", f"ask for one of: {names}")
        return UnknownModelError(f"no model {name[:100]!r} is served", "see /v2/repository/index for all names")

    def names(self) -> list[str]:
        """The names of all models and ensembles, quarantined ones too, sorted."""
        return sorted([*self.models, *self.ensembles])
