"""Adds tickers to a model file, and the file to a branch if no branch contains it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mlops_cli.config.collection import ModelCollection
from mlops_cli.config.editing.params import open_document, open_params, validated
from mlops_cli.config.editing.yaml_document import YamlDocument, ruamel_value
from mlops_cli.config.load import Branch, load_branch, load_branches, load_params
from mlops_cli.config.mistakes import Mistakes
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.descriptions import type_in_words
from mlops_cli.config.schemas.field_types import Slug, Ticker
from mlops_cli.config.schemas.project import BranchSpec, ModelFile, ModelSpec
from mlops_cli.errors import ConfigError
from mlops_cli.system.files import write_text

DEFAULT_BRANCH = "main"


@dataclass(frozen=True)
class _NewText:
    """The text of a model file, and the tickers that were added to it."""

    text: str
    added: list[str]


def add_model(project: Project, team: str, tickers: Sequence[str], folder: str = "") -> list[str]:
    """Add tickers to a team's model file; one line per change, for the user.

    The file is `<folder>/<team>.yaml` under configs/, created if it does not exist. Without a folder it is the file in
    which the team has all its models in the branches of params.yaml; if there is no such file, or several, it is
    `configs/<team>/<team>.yaml`. If no branch of params.yaml contains the new models, the file is added to the branch
    `main`.

    Raises:
        ConfigError: a bad name, a file of another team, or mistakes anywhere in the configs. Nothing is changed then.
    """
    team = _validated_name(Slug, team, "team")
    tickers = [_validated_name(Ticker, ticker, "ticker").upper() for ticker in tickers]
    # report mistakes that were there before as such, not as the fault of the new tickers
    branches = load_branches(project, load_params(project)).values()
    file = _file_of_team([model for branch in branches for model in branch.models], team, folder)
    path = project.root / file
    if not path.is_relative_to(project.configs):
        raise ConfigError(f"{folder}: is not under configs/, the only folder of configs that DVC watches")
    new = _with_tickers(path, file, team, tickers)
    if not new.added:
        return [f"{file}: {', '.join(tickers)}: there already"]
    text_before = path.read_text(encoding="utf-8") if path.exists() else None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, new.text)
        return [f"{file}: {', '.join(new.added)} added", *_add_to_branch(project, file, new.added)]
    except ConfigError:
        write_text(path, text_before) if text_before is not None else path.unlink()
        raise


def _validated_name(kind: Any, value: str, what: str) -> str:
    try:
        return str(TypeAdapter(kind).validate_python(value))
    except ValidationError:
        raise ConfigError(f"{what} {value!r}: expected {type_in_words(kind)}") from None


def _file_of_team(models: Sequence[ModelSpec], team: str, folder: str) -> str:
    files = {model.file for model in models if model.team == team}
    if len(files) == 1 and not folder:
        return files.pop()
    return f"{os.path.normpath(folder or f'configs/{team}')}/{team}.yaml"


def _with_tickers(path: Path, file: str, team: str, tickers: list[str]) -> _NewText:
    tickers = list(dict.fromkeys(tickers))
    if not path.exists():
        document = YamlDocument("", file)
        document.put(["team"], team)
        document.put(["tickers"], tickers)
        return _NewText(document.text, tickers)
    document = open_document(path, file)
    if document.get(["team"]) != team:
        raise ConfigError(f"{file}: team: expected {team}, was {document.get(['team'])}", "choose another --folder")
    mistakes = Mistakes()
    present = mistakes.value_or_raise(mistakes.validate(ModelFile, document.data, file)).all_tickers
    added = [ticker for ticker in tickers if ticker not in present]

    def add(block: Any) -> None:
        if "ticker" in block:
            block["tickers"] = ruamel_value([block.pop("ticker")])
        block["tickers"].extend(added)

    if added:
        document.change("ticker" if "ticker" in document.data else "tickers", add)
    return _NewText(document.text, added)


def _add_to_branch(project: Project, file: str, tickers: list[str]) -> list[str]:
    """Add `file` to the branch `main`, unless the branches contain its models of these tickers already."""
    mistakes = Mistakes()
    models = mistakes.value_or_raise(ModelCollection(project, mistakes).models(project.root / file))
    params = load_params(project)
    branches = load_branches(project, params)
    in_branches = {model.name for branch in branches.values() for model in branch.models}
    missing = {model.name for model in models if model.ticker in tickers} - in_branches
    if not missing:
        return []
    document = _with_file_in_main(project, branches, params.branches.get(DEFAULT_BRANCH), file, missing)
    params = validated(document)
    if not missing <= {model.name for model in load_branch(project, params, DEFAULT_BRANCH).models}:
        raise ConfigError(
            f"params.yaml: branches.{DEFAULT_BRANCH}.exclude: excludes {', '.join(sorted(missing))}",
            "remove the pattern first",
        )
    write_text(project.params, document.text)
    return [f"params.yaml: branches.{DEFAULT_BRANCH}.collection: {file} added"]


def _with_file_in_main(
    project: Project, branches: Mapping[str, Branch], main: BranchSpec | None, file: str, missing: set[str]
) -> YamlDocument:
    """params.yaml with the models `missing` of `file` in the branch `main`.

    The file's other models stay in the branches that contain them.
    """
    main = main or BranchSpec(collection=(file,))
    document, key = open_params(project), ["branches", DEFAULT_BRANCH]
    document.put([*key, "collection"], list(dict.fromkeys([*main.collection, file])))
    if main.only:
        document.put([*key, "only"], [*main.only, *sorted(missing)])
    others = [branch for name, branch in branches.items() if name != DEFAULT_BRANCH]
    elsewhere = {model.name for branch in others for model in branch.models if model.file == file}
    if elsewhere:
        document.put([*key, "exclude"], sorted({*main.exclude, *elsewhere}))
    return document
