"""What is served, as an immutable value. It is replaced whole when a folder changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mlops_cli.serving.catalog.routes import Route
from mlops_cli.serving.contract.messages import IndexEntry, UnknownModelError
from mlops_cli.serving.contract.served_version import ServedVersion


class ModelKey(NamedTuple):
    """A model by its branch of params.yaml and its name in that branch."""

    branch: str
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A model and its versions.

    Attributes:
        name: that callers use.
        slug: its name in the branch.
        versions: newest first; empty where all are quarantined.
        quarantined: versions that cannot be served, each with its reason.
        default: the version that answers where no route splits; None where there is no version.
        route: the traffic split, if any.
        shadow: a version whose answers are only compared, never returned.
        verdicts: on its skill, by version; versions that were not judged are left out.
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
    """A weighted average of models; the weights add up to 1. Without members it cannot be served, for this `reason`."""

    name: str
    members: tuple[tuple[ServedModel, float], ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """All that is served.

    Attributes:
        models: by the name that callers use.
        shared: names that several branches use, each with the names to ask for instead.
        ensembles: by name; none has the name of a model.
    """

    models: dict[str, ServedModel] = field(default_factory=dict)
    shared: dict[str, list[str]] = field(default_factory=dict)
    folders: dict[ModelKey, ServedModel] = field(default_factory=dict)
    ensembles: dict[str, ServedEnsemble] = field(default_factory=dict)

    def model(self, name: str) -> ServedModel:
        """A model by name.

        Raises:
            UnknownModelError: there is none.
        """
        model = self.models.get(name)
        if model is None:
            raise self.unknown(name)
        return model

    def unknown(self, name: str) -> UnknownModelError:
        """The error for a name that is not served."""
        if name in self.shared:
            names = ", ".join(self.shared[name])
            return UnknownModelError(f"{name[:100]!r} is a model of several branches", f"ask for one of: {names}")
        return UnknownModelError(f"no model {name[:100]!r} is served", "see /v2/repository/index for all names")

    def names(self) -> list[str]:
        """The names of all models and ensembles, quarantined ones too, sorted."""
        return sorted([*self.models, *self.ensembles])
