"""Adding a stock: one word in a model file, and a branch that holds the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mlops_cli.config.collection import Collection
from mlops_cli.config.editing.params import checked, open_document, open_params
from mlops_cli.config.editing.yaml_document import Document, styled
from mlops_cli.config.load import load_branch, load_branches, load_params
from mlops_cli.config.mistakes import Mistakes
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.describe import words
from mlops_cli.config.schemas.field_types import Slug, Ticker
from mlops_cli.config.schemas.project import ModelFile
from mlops_cli.errors import ConfigError
from mlops_cli.system.files import write_text

DEFAULT_BRANCH = "main"


def add_model(project: Project, team: str, tickers: Sequence[str], folder: str = "") -> list[str]:
    """Add tickers to a team's model file.

    That is `<folder>/<team>.yaml`, made if need be; without a folder the one file that the team has in the branches
    of params.yaml, or else `configs/<team>/<team>.yaml`.
    Where no branch of params.yaml holds the new models, the file is added to the branch `main`.

    Args:
        project: the project folder.
        team: as in the models' names.
        tickers: one or more.
        folder: under configs/; may be empty.

    Returns:
        One line per change, for the user.

    Raises:
        ConfigError: a bad name, a file of another team, or mistakes anywhere in the configs; nothing is changed then.
    """
    team, tickers = _one(Slug, team, "team"), [_one(Ticker, ticker, "ticker").upper() for ticker in tickers]
    # mistakes that stand there already are no fault of the new tickers
    branches = load_branches(project, load_params(project)).values()
    files = {model.file for branch in branches for model in branch.models if model.team == team}
    file = (
        files.pop()
        if len(files) == 1 and not folder
        else f"{os.path.normpath(folder or f'configs/{team}')}/{team}.yaml"
    )
    path = project.root / file
    if not path.is_relative_to(project.configs):
        raise ConfigError(f"{folder}: does not lie under configs/, the only folder of configs that DVC watches")
    text, new = _with_tickers(path, file, team, tickers)
    if not new:
        return [f"{file}: {', '.join(tickers)}: there already"]
    before = path.read_text(encoding="utf-8") if path.exists() else None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
        return [f"{file}: {', '.join(new)} added", *_hold(project, file, new)]
    except ConfigError:
        write_text(path, before) if before is not None else path.unlink()
        raise


def _one(kind: Any, value: str, what: str) -> str:
    try:
        return str(TypeAdapter(kind).validate_python(value))
    except ValidationError:
        raise ConfigError(f"{what} {value!r}: expected {words(kind)}") from None


def _with_tickers(path: Path, file: str, team: str, tickers: list[str]) -> tuple[str, list[str]]:
    """The file's text with the tickers added, and which of them are new."""
    if not path.exists():
        document = Document("", file)
        document.put(["team"], team)
        document.put(["tickers"], list(dict.fromkeys(tickers)))
        return document.text, list(dict.fromkeys(tickers))
    document = open_document(path, file)
    if document.get(["team"]) != team:
        raise ConfigError(f"{file}: team: expected {team}, was {document.get(['team'])}", "choose another --folder")
    mistakes = Mistakes()
    there = mistakes.settle(mistakes.check(ModelFile, document.data, file)).all_tickers
    new = [ticker for ticker in dict.fromkeys(tickers) if ticker not in there]

    def add(block: Any) -> None:
        if "ticker" in block:
            block["tickers"] = styled([block.pop("ticker")])
        block["tickers"].extend(new)

    if new:
        document.change("ticker" if "ticker" in document.data else "tickers", add)
    return document.text, new


def _hold(project: Project, file: str, tickers: list[str]) -> list[str]:
    """See to it that a branch holds the models of these tickers of `file`."""
    mistakes = Mistakes()
    models = mistakes.settle(Collection(project, mistakes).models(project.root / file))
    params = load_params(project)
    branches = load_branches(project, params)
    held = {model.name for branch in branches.values() for model in branch.models}
    missing = {model.name for model in models if model.ticker in tickers} - held
    if not missing:
        return []
    document, key = open_params(project), ["branches", DEFAULT_BRANCH]
    spec = params.branches.get(DEFAULT_BRANCH)
    document.put([*key, "collection"], list(dict.fromkeys([*(spec.collection if spec else ()), file])))
    if spec and spec.only:
        document.put([*key, "only"], [*spec.only, *sorted(missing)])
    # the file's other models stay in the branches that hold them
    elsewhere = {m.name for name, b in branches.items() if name != DEFAULT_BRANCH for m in b.models if m.file == file}
    if elsewhere:
        document.put([*key, "exclude"], sorted({*(spec.exclude if spec else ()), *elsewhere}))
    params = checked(document)
    if not missing <= {model.name for model in load_branch(project, params, DEFAULT_BRANCH).models}:
        raise ConfigError(
            f"params.yaml: branches.{DEFAULT_BRANCH}.exclude: keeps {', '.join(sorted(missing))} out",
            "take the pattern out first",
        )
    write_text(project.params, document.text)
    return [f"params.yaml: branches.{DEFAULT_BRANCH}.collection: {file} added"]
