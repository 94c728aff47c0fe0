"""Which branch the model of a job belongs to: that of the collection which has it, or the branch `requested`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mlops_cli.config.load import Branch, load_branches, load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.requested import REQUESTED, check_name_is_free, with_requested
from mlops_cli.config.schemas.project import ModelSpec, Params
from mlops_cli.errors import ConfigError, bounded
from mlops_cli.live.jobs.job_requests import learnt_from
from mlops_cli.models.versions import model_versions


def with_finished(project: Project, params: Params, branches: Mapping[str, Branch]) -> dict[str, Branch]:
    """The branches, and that of the requested models that have a version: the others are still trained by a worker.

    A job that kills its worker leaves the config of its model behind; nothing but another try of the job trains it.
    """
    every = with_requested(project, params, branches)
    requested = every.pop(REQUESTED, None)
    if requested is None:
        return every
    root = project.model_root
    models = tuple(spec for spec in requested.models if model_versions(root, REQUESTED, spec.name))
    return {**every, REQUESTED: replace(requested, models=models)} if models else every


@dataclass(frozen=True)
class Places:
    """The models that a project has, and where others would be put.

    Attributes:
        params: its params.yaml.
        branches: by name, that of the requested models included if there is one.
    """

    params: Params
    branches: Mapping[str, Branch]
    _models: dict[str, dict[str, ModelSpec]] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Project) -> Places:
        """The places of a project; a `ConfigError` with every mistake in its configs."""
        params = load_params(project)
        check_name_is_free(params)
        branches = with_requested(project, params, load_branches(project, params))
        models: dict[str, dict[str, ModelSpec]] = {}
        for branch in branches.values():
            for spec in branch.models:
                models.setdefault(spec.name, {})[branch.name] = spec
        return cls(params, branches, models)

    def configured(self, name: str) -> ModelSpec | None:
        """The model of this name in the first branch that has it; None if no branch has it."""
        return next(iter(self._models.get(name, {}).values()), None)

    def branch_of(self, spec: ModelSpec) -> str:
        """Name of the branch that a job for this model trains in.

        Raises:
            ConfigError: there is such a model with another config, it is one of a pool, or of another team,
                or requested models of its ticker have another exchange.
        """
        homes = self._models.get(spec.name)
        if homes is None:
            self._check_exchange(spec)
            return REQUESTED
        for branch, own in homes.items():
            if own.pool:
                raise ConfigError(
                    f"{spec.name} shares one training with {bounded([t for t in own.pool if t != own.ticker])}",
                    "train the pool with: mlops run",
                )
            if learnt_from(own) == learnt_from(spec):
                return branch
        file = next(iter(homes.values())).file
        raise ConfigError(
            f"there is a model {spec.name} with another config, in {file}",
            "give yours a suffix, such as suffix: wide; or ask for the ticker alone, to train that one again",
        )

    def _check_exchange(self, spec: ModelSpec) -> None:
        """Refuse another exchange for a ticker of the branch: its models share one table of prices."""
        others = self.branches[REQUESTED].models if REQUESTED in self.branches else ()
        for other in others:
            if other.ticker == spec.ticker and other.exchange != spec.exchange:
                raise ConfigError(
                    f"{spec.ticker} has the exchange {other.exchange} in other requested models, not {spec.exchange}",
                    f"ask with the exchange {other.exchange}",
                )
