"""Loading params.yaml, scenarios and branches; all mistakes of all files at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from mlops_cli.config.collection import Collection
from mlops_cli.config.mistakes import Mistakes, suggestion, was
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.describe import words
from mlops_cli.config.schemas.project import (
    BranchSpec,
    ModelSpec,
    Params,
    Period,
    Retrain,
    Scenario,
    Source,
    Training,
)
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import ConfigError

_OVERRIDES: dict[str, type[BaseModel]] = {"source": Source, "period": Period, "training": Training}


@dataclass(frozen=True)
class Branch:
    """One branch of params.yaml, resolved: its models and what holds for them.

    Attributes:
        name: as in params.yaml.
        models: in the order of the collection's files, and within a file as its tickers stand there; never empty.
        source: where prices come from.
        period: sessions to fetch.
        training: how models are trained.
        seed: for everything random.
        scenario: name of the scenario that holds the held-out time.
        keep_versions: finished versions of a model that are kept, the newest included.
    """

    name: str
    models: tuple[ModelSpec, ...]
    source: Source
    period: Period
    training: Training
    seed: int
    scenario: str
    keep_versions: int


def load_params(project: Project) -> Params:
    """Load params.yaml.

    Raises:
        ConfigError: every mistake in it.
    """
    mistakes = Mistakes()
    params = check_params(mistakes.read(project.params, "params.yaml"), mistakes)
    return mistakes.settle(params)


def check_params(data: Any, mistakes: Mistakes) -> Params | None:
    """Validate what params.yaml holds, each branch's overrides laid over the common settings."""
    if isinstance(data, dict):
        # a key with nothing behind it is as good as none
        data = {key: value for key, value in data.items() if value is not None}
    params = mistakes.check(Params, data if data is not None else {}, "params.yaml")
    if params is None:
        return None
    for name, spec in params.branches.items():
        for key, model in _OVERRIDES.items():
            mistakes.check(model, _laid_over(params, spec, key), "params.yaml", f"branches.{name}.{key}")
        if "folder" in spec.source:
            text = "cannot differ by branch: dvc.yaml watches the folder of source.folder alone"
            mistakes.add("params.yaml", text, f"branches.{name}.source.folder")
    for team in params.trading.teams:
        mistakes.check(Rules, params.trading.laid_over(team), "params.yaml", f"trading.teams.{team}")
    return params


def load_scenario(project: Project, name: str) -> Scenario:
    """Load `simulation/<name>.yaml`.

    Raises:
        ConfigError: there is none of that name, or every mistake in it.
    """
    path = project.scenario(name)
    file = str(path.relative_to(project.root))
    if not path.is_file():
        known = suggestion(name, sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(f"{file}: no such scenario{known}", "choose one with: --set simulation.scenario=NAME")
    mistakes = Mistakes()
    scenario = mistakes.check(Scenario, mistakes.read(path, file), file)
    return mistakes.settle(scenario)


def check_retrain(text: str) -> Retrain:
    """What `--retrain` says.

    Raises:
        ConfigError: it says nothing that simulation.retrain takes.
    """
    value = int(text) if text.isdecimal() else text
    try:
        return TypeAdapter[Retrain](Retrain).validate_python(value)
    except ValidationError:
        text = f"--retrain: expected {words(Retrain)}, was {was(value)}"
        raise ConfigError(text, "without it, params.yaml's simulation.retrain holds") from None


def load_branch(project: Project, params: Params, name: str) -> Branch:
    """Resolve one branch; reads the files of its own collection only.

    Raises:
        ConfigError: params.yaml has no such branch, or every mistake in its files.
    """
    if name not in params.branches:
        raise ConfigError(
            f"params.yaml: branches: there is no branch {name!r}{suggestion(name, params.branches)}",
            "list them with: mlops branch list",
        )
    mistakes = Mistakes()
    branch = _resolve(Collection(project, mistakes), params, name)
    return mistakes.settle(branch)


def load_branches(project: Project, params: Params) -> dict[str, Branch]:
    """Resolve all branches, in the order of params.yaml.

    Raises:
        ConfigError: every mistake in every file of every collection.
    """
    mistakes = Mistakes()
    collection = Collection(project, mistakes)
    branches = {name: _resolve(collection, params, name) for name in params.branches}
    mistakes.raise_if_any()
    return {name: branch for name, branch in branches.items() if branch is not None}


def check_project(project: Project) -> dict[str, Branch]:
    """Look at every config file of the project, whether a branch holds it or not, and resolve all branches.

    Raises:
        ConfigError: every mistake in params.yaml, under configs/ and in simulation/.
    """
    mistakes = Mistakes()
    params = _noting(mistakes, load_params, project)
    collection = Collection(project, mistakes)
    branches = {name: _resolve(collection, params, name) for name in params.branches} if params else {}
    for file in collection.all_files():
        collection.models(file)
    scenarios = {path.stem for path in project.scenario("x").parent.glob("*.yaml")}
    for name in sorted(scenarios | ({params.simulation.scenario} if params else set())):
        _noting(mistakes, load_scenario, project, name)
    if params and None not in branches.values():
        _check_teams(params, branches, mistakes)
    if params and not (project.root / params.source.folder).is_dir():
        mistakes.add("params.yaml", f"there is no folder {params.source.folder}", "source.folder")
    mistakes.raise_if_any()
    return {name: branch for name, branch in branches.items() if branch is not None}


def _check_teams(params: Params, branches: Mapping[str, Branch | None], mistakes: Mistakes) -> None:
    teams = {model.team for branch in branches.values() if branch for model in branch.models}
    for team in sorted(set(params.trading.teams) - teams):
        mistakes.add(
            "params.yaml", f"no model is of this team{suggestion(team, sorted(teams))}", f"trading.teams.{team}"
        )


def _noting(mistakes: Mistakes, load: Any, *arguments: Any) -> Any:
    try:
        return load(*arguments)
    except ConfigError as error:
        mistakes.lines.extend(error.message.splitlines())
        return None


def _resolve(collection: Collection, params: Params, name: str) -> Branch | None:
    spec = params.branches[name]
    key = f"branches.{name}.collection"
    files: dict[Path, None] = {}
    found = [collection.files(entry, key) for entry in spec.collection]
    for entry in found:
        files.update(dict.fromkeys(entry))
    of_files = [collection.models(file) for file in files]
    if not all(found) or None in of_files:
        return None
    models = _choose([model for models in of_files if models for model in models], spec, name, collection.mistakes)
    if models is None:
        return None
    return Branch(
        name=name,
        models=models,
        source=Source.model_validate(_laid_over(params, spec, "source")),
        period=Period.model_validate(_laid_over(params, spec, "period")),
        training=Training.model_validate(_laid_over(params, spec, "training")),
        seed=params.seed if spec.seed is None else spec.seed,
        scenario=params.simulation.scenario,
        keep_versions=params.serving.keep_versions,
    )


def _choose(models: list[ModelSpec], spec: BranchSpec, branch: str, mistakes: Mistakes) -> tuple[ModelSpec, ...] | None:
    before = len(mistakes.lines)
    for pattern in spec.only:
        if not any(fnmatchcase(model.name, pattern) for model in models):
            known = suggestion(pattern, [model.name for model in models])
            mistakes.add("params.yaml", f"no model is called {pattern!r}{known}", f"branches.{branch}.only")
    chosen = [
        model for model in models if (not spec.only or _matches(model, spec.only)) and not _matches(model, spec.exclude)
    ]
    names = {model.name for model in chosen}
    if not chosen and len(mistakes.lines) == before:
        mistakes.add("params.yaml", "leaves no model, all are excluded", f"branches.{branch}.exclude")
    seen: dict[str, str] = {}
    for model in chosen:
        if model.name in seen:
            first = seen[model.name]
            text = f"model {model.name} is in branch {branch} already, from {first}: give one of them a suffix"
            mistakes.add(model.file, text)
        seen.setdefault(model.name, model.file)
    if len(mistakes.lines) > before:
        return None
    return tuple(m if m.small in names else m.model_copy(update={"small": None}) for m in chosen)


def _matches(model: ModelSpec, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern fits the model, or the one that it is the small variant of."""
    names = (model.name, model.small_of or model.name)
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _laid_over(params: Params, spec: BranchSpec, key: str) -> dict[str, Any]:
    return {**getattr(params, key).model_dump(mode="json"), **getattr(spec, key)}
