"""Loads params.yaml, scenarios and branches. All mistakes of all files are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from mlops_cli.config.collection import ModelCollection
from mlops_cli.config.mistakes import Mistakes, suggestion, value_in_words
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.descriptions import type_in_words
from mlops_cli.config.schemas.field_types import is_slug
from mlops_cli.config.schemas.intervals import Intervals
from mlops_cli.config.schemas.project import BranchSpec, ModelSpec, Params, Period, Retrain, Scenario, Training
from mlops_cli.config.schemas.source import Source
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import ConfigError

_OVERRIDES: dict[str, type[BaseModel]] = {
    "source": Source,
    "period": Period,
    "training": Training,
    "intervals": Intervals,
}


@dataclass(frozen=True)
class Branch:
    """One branch of params.yaml, resolved: its models and their settings.

    Attributes:
        models: in the order of the collection's files, and within a file in the order of its tickers; never empty.
        source: where prices come from.
        period: sessions to fetch.
        scenario: name of the scenario that defines the held-out time.
        keep_versions: how many finished versions of a model are kept, the newest included.
        intervals: the prediction intervals of its forecasts.
    """

    name: str
    models: tuple[ModelSpec, ...]
    source: Source
    period: Period
    training: Training
    seed: int
    scenario: str
    keep_versions: int
    intervals: Intervals = field(default_factory=Intervals)


def load_params(project: Project) -> Params:
    """Load params.yaml; a `ConfigError` with every mistake in it if it has any."""
    mistakes = Mistakes()
    params = check_params(mistakes.read(project.params, "params.yaml"), mistakes)
    return mistakes.value_or_raise(params)


def check_params(data: Any, mistakes: Mistakes) -> Params | None:
    """Validate the content of params.yaml, with the overrides of each branch and team; None after a mistake."""
    if isinstance(data, dict):
        # a key without a value counts as left out
        data = {key: value for key, value in data.items() if value is not None}
    params = mistakes.validate(Params, data if data is not None else {}, "params.yaml")
    if params is None:
        return None
    for name, spec in params.branches.items():
        for key, model in _OVERRIDES.items():
            mistakes.validate(model, _with_overrides(params, spec, key), "params.yaml", f"branches.{name}.{key}")
        if "folder" in spec.source:
            text = "cannot differ by branch: dvc.yaml watches the folder of source.folder alone"
            mistakes.add("params.yaml", text, f"branches.{name}.source.folder")
    for team in params.trading.teams:
        mistakes.validate(Rules, params.trading.merged_rules(team), "params.yaml", f"trading.teams.{team}")
    return params


def load_scenario(project: Project, name: str) -> Scenario:
    """Load `simulation/<name>.yaml`; a `ConfigError` if it is missing, or with every mistake in it."""
    if not is_slug(name):
        raise ConfigError(
            f"scenario {name!r}: expected the name of a file in simulation/, without .yaml",
            "a name has lower-case letters, digits and . _ -",
        )
    path = project.scenario(name)
    file = str(path.relative_to(project.root))
    if not path.is_file():
        similar = suggestion(name, sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise ConfigError(f"{file}: no such scenario{similar}", "choose one with: --set simulation.scenario=NAME")
    mistakes = Mistakes()
    scenario = mistakes.validate(Scenario, mistakes.read(path, file), file)
    return mistakes.value_or_raise(scenario)


def check_retrain(text: str) -> Retrain:
    """The value of the option `--retrain`; a `ConfigError` if simulation.retrain does not take it."""
    value = int(text) if text.isdecimal() else text
    try:
        return TypeAdapter[Retrain](Retrain).validate_python(value)
    except ValidationError:
        text = f"--retrain: expected {type_in_words(Retrain)}, was {value_in_words(value)}"
        raise ConfigError(text, "without the option, simulation.retrain in params.yaml applies") from None


def load_branch(project: Project, params: Params, name: str) -> Branch:
    """Resolve one branch from its own files; a `ConfigError` if there is none, or with every mistake in them."""
    if name not in params.branches:
        raise ConfigError(
            f"params.yaml: branches: there is no branch {name!r}{suggestion(name, params.branches)}",
            "list them with: mlops branch list",
        )
    mistakes = Mistakes()
    branch = _resolve(ModelCollection(project, mistakes), params, name)
    return mistakes.value_or_raise(branch)


def load_branches(project: Project, params: Params) -> dict[str, Branch]:
    """Resolve all branches, in the order of params.yaml; a `ConfigError` with the mistakes of all their files."""
    mistakes = Mistakes()
    branches = _resolve_all(ModelCollection(project, mistakes), params)
    mistakes.raise_if_any()
    return branches


def check_project(project: Project) -> dict[str, Branch]:
    """Check every config file of the project, in a branch or not, and resolve all branches.

    Raises:
        ConfigError: every mistake in params.yaml, under configs/ and in simulation/.
    """
    mistakes = Mistakes()
    params = _note_errors(mistakes, load_params, project)
    collection = ModelCollection(project, mistakes)
    branches = _resolve_all(collection, params) if params else {}
    for file in collection.all_files():
        collection.models(file)
    scenarios = {path.stem for path in project.scenario("x").parent.glob("*.yaml")}
    for name in sorted(scenarios | ({params.simulation.scenario} if params else set())):
        _note_errors(mistakes, load_scenario, project, name)
    if params:
        _check_params_against_project(project, params, branches, mistakes)
    mistakes.raise_if_any()
    return branches


def _check_params_against_project(
    project: Project, params: Params, branches: Mapping[str, Branch], mistakes: Mistakes
) -> None:
    if len(branches) == len(params.branches):
        _check_teams(params, branches, mistakes)
    if not (project.root / params.source.folder).is_dir():
        mistakes.add("params.yaml", f"there is no folder {params.source.folder}", "source.folder")
        return
    sources = [branch.source for branch in branches.values() if branch.source.actions.kind == "csv"]
    for folder in dict.fromkeys(source.folder / source.actions.folder for source in sources):
        if not (project.root / folder).is_dir():
            mistakes.add("params.yaml", f"there is no folder {folder}", "source.actions.folder")


def _check_teams(params: Params, branches: Mapping[str, Branch], mistakes: Mistakes) -> None:
    teams = {model.team for branch in branches.values() for model in branch.models}
    for team in sorted(set(params.trading.teams) - teams):
        text = f"no model belongs to this team{suggestion(team, sorted(teams))}"
        mistakes.add("params.yaml", text, f"trading.teams.{team}")


def _note_errors[T, **P](mistakes: Mistakes, load: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """What `load` returns, or None after its mistakes were noted."""
    try:
        return load(*args, **kwargs)
    except ConfigError as error:
        mistakes.lines.extend(error.message.splitlines())
        return None


def _resolve_all(collection: ModelCollection, params: Params) -> dict[str, Branch]:
    """The branches without mistakes, by name; the mistakes of the others are noted."""
    branches = {name: _resolve(collection, params, name) for name in params.branches}
    return {name: branch for name, branch in branches.items() if branch is not None}


def _resolve(collection: ModelCollection, params: Params, name: str) -> Branch | None:
    spec = params.branches[name]
    available = _models_of(collection, spec, name)
    models = None if available is None else _choose(available, spec, name, collection.mistakes)
    if models is None:
        return None
    return Branch(
        name=name,
        models=models,
        source=Source.model_validate(_with_overrides(params, spec, "source")),
        period=Period.model_validate(_with_overrides(params, spec, "period")),
        training=Training.model_validate(_with_overrides(params, spec, "training")),
        seed=params.seed if spec.seed is None else spec.seed,
        scenario=params.simulation.scenario,
        keep_versions=params.serving.keep_versions,
        intervals=Intervals.model_validate(_with_overrides(params, spec, "intervals")),
    )


def _models_of(collection: ModelCollection, spec: BranchSpec, branch: str) -> list[ModelSpec] | None:
    """The models of all files of a branch's collection; None after a mistake."""
    entries = [collection.files(entry, f"branches.{branch}.collection") for entry in spec.collection]
    files = dict.fromkeys(file for entry in entries for file in entry)
    models_by_file = [collection.models(file) for file in files]
    if not all(entries) or None in models_by_file:
        return None
    return [model for models in models_by_file if models for model in models]


def _choose(models: list[ModelSpec], spec: BranchSpec, branch: str, mistakes: Mistakes) -> tuple[ModelSpec, ...] | None:
    """The models that `only` and `exclude` leave in the branch; None after a mistake."""
    mistakes_before = len(mistakes.lines)
    _check_only(models, spec, branch, mistakes)
    chosen = [model for model in models if _is_chosen(model, spec)]
    if not chosen and len(mistakes.lines) == mistakes_before:
        mistakes.add("params.yaml", "leaves no model, all are excluded", f"branches.{branch}.exclude")
    _check_names(chosen, branch, mistakes)
    if len(mistakes.lines) > mistakes_before:
        return None
    names = {model.name for model in chosen}
    return tuple(m if m.small in names else m.model_copy(update={"small": None}) for m in chosen)


def _check_only(models: list[ModelSpec], spec: BranchSpec, branch: str, mistakes: Mistakes) -> None:
    names = [model.name for model in models]
    for pattern in spec.only:
        if not any(fnmatchcase(name, pattern) for name in names):
            text = f"no model is called {pattern!r}{suggestion(pattern, names)}"
            mistakes.add("params.yaml", text, f"branches.{branch}.only")


def _check_names(models: list[ModelSpec], branch: str, mistakes: Mistakes) -> None:
    """Note every model whose name another model of the branch has already."""
    first_files: dict[str, str] = {}
    for model in models:
        if model.name in first_files:
            first = first_files[model.name]
            text = f"model {model.name} is in branch {branch} already, from {first}: give one of them a suffix"
            mistakes.add(model.file, text)
        first_files.setdefault(model.name, model.file)


def _is_chosen(model: ModelSpec, spec: BranchSpec) -> bool:
    return (not spec.only or _matches(model, spec.only)) and not _matches(model, spec.exclude)


def _matches(model: ModelSpec, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern matches the model's name, or the name of the model whose small variant it is."""
    names = (model.name, model.small_of or model.name)
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _with_overrides(params: Params, spec: BranchSpec, key: str) -> dict[str, Any]:
    return {**getattr(params, key).model_dump(mode="json"), **getattr(spec, key)}
