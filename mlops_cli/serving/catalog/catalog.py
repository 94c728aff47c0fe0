"""What is served, as one immutable picture: replaced whole when a folder changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlops_cli.serving.catalog.routes import Route
from mlops_cli.serving.contract.messages import IndexEntry, UnknownModelError
from mlops_cli.serving.contract.served_version import ServedVersion


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A model and its versions.

    Attributes:
        name: what it is asked for by.
        branch: of params.yaml.
        slug: its name in the branch.
        versions: newest first; empty where all are quarantined.
        quarantined: versions that cannot be served, each with its reason.
        default: answers where no route splits; None where there is no version.
        route: the split, if any.
        shadow: runs along, unseen.
        verdicts: on its skill, by version; those not judged are left out.
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

    def version(self, wanted: str) -> ServedVersion | None:
        """The version of that name, if it can be served."""
        return next((one for one in self.versions if one.version == wanted), None)

    @property
    def ticker(self) -> str | None:
        """Of its newest version; None where all are quarantined."""
        return self.versions[0].ticker if self.versions else None


@dataclass(frozen=True, slots=True, eq=False)
class ServedEnsemble:
    """A weighted average of models.

    Attributes:
        members: with their weights, which add up to 1; empty where it cannot be served.
        reason: why it cannot be served; else empty.
    """

    name: str
    members: tuple[tuple[ServedModel, float], ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """All that is served.

    Attributes:
        models: by the name asked for.
        shared: names that several branches use, each with the names to ask for instead.
        folders: the models by branch and slug.
        ensembles: by name; none has the name of a model.
    """

    models: dict[str, ServedModel] = field(default_factory=dict)
    shared: dict[str, list[str]] = field(default_factory=dict)
    folders: dict[tuple[str, str], ServedModel] = field(default_factory=dict)
    ensembles: dict[str, ServedEnsemble] = field(default_factory=dict)

    def model(self, name: str) -> ServedModel:
        """A model by name.

        Raises:
            UnknownModelError: there is none.
        """
        found = self.models.get(name)
        if found is None:
            raise self.unknown(name)
        return found

    def unknown(self, name: str) -> UnknownModelError:
        """What to say of a name that is not there."""
        if name in self.shared:
            names = ", ".join(self.shared[name])
            return UnknownModelError(f"{name[:100]!r} is a model of several branches", f"ask for one of: {names}")
        return UnknownModelError(f"no model {name[:100]!r} is served", "see /v2/repository/index for all names")

    def names(self) -> list[str]:
        """Every name that can be asked for, sorted."""
        return sorted([*self.models, *self.ensembles])
