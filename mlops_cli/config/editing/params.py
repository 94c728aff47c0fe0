"""Writing params.yaml, comments kept; checked before it is written, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from mlops_cli.config.editing.yaml_document import Document
from mlops_cli.config.load import check_params, load_scenario
from mlops_cli.config.mistakes import Mistakes, was
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Params
from mlops_cli.config.yaml_files import UnreadableYaml, parse_yaml
from mlops_cli.errors import ConfigError
from mlops_cli.system.files import write_text

# dvc.yaml interpolates these: without them DVC cannot even read the pipeline
SCENARIO = ("simulation", "scenario")
_NEEDED_BY_DVC = (("source", "folder"), SCENARIO)
_NOT_IN_THE_PIPELINE = {"serving", "trading"}


def set_values(project: Project, assignments: Sequence[str]) -> list[str]:
    """Write `KEY=VALUE` assignments into params.yaml.

    Args:
        project: the project folder.
        assignments: dotted key, VALUE read as YAML; `branches.mine.collection=[configs/mine]` makes a new branch.

    Returns:
        One line per value that changed, for the user.

    Raises:
        ConfigError: no assignment, an unknown key, a wrong value or a scenario that is not there; params.yaml is then
            as it was.
    """
    document = open_params(project)
    before, lines = document.get(SCENARIO), []
    for assignment in assignments:
        key, value = _split(assignment)
        old = document.get(key)
        if old == value and type(old) is type(value):
            continue
        document.put(key, value)
        lines.append(f"params.yaml: {'.'.join(key)}: {shown(old)} -> {shown(value)}")
    if document.get(SCENARIO) != before:
        load_scenario(project, checked(document).simulation.scenario)
    return lines + _complete(project, document)


def ensure_complete(project: Project) -> list[str]:
    """Add to params.yaml what DVC must find there, and put bare dates in quotes, which DVC cannot read otherwise.

    Returns:
        One line per change, for the user; usually none.

    Raises:
        ConfigError: params.yaml has mistakes.
    """
    return _complete(project, open_params(project))


def open_params(project: Project) -> Document:
    """The text of params.yaml, for an edit.

    Raises:
        ConfigError: it is no YAML.
    """
    return open_document(project.params, "params.yaml")


def open_document(path: Path, name: str) -> Document:
    """The text of a YAML file, for an edit.

    Raises:
        ConfigError: it is no YAML.
    """
    try:
        return Document(path.read_text(encoding="utf-8"), name)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: expected UTF-8 text", "save it as UTF-8") from error


def save_params(project: Project, document: Document) -> None:
    """Check an edited params.yaml and write it.

    Raises:
        ConfigError: every mistake in it; the file is then as it was.
    """
    checked(document)
    write_text(project.params, document.text)


def checked(document: Document) -> Params:
    """What an edited params.yaml says.

    Raises:
        ConfigError: every mistake in it.
    """
    mistakes = Mistakes()
    params = check_params(parse_yaml(document.text), mistakes)
    mistakes.raise_if_any("params.yaml is as it was; see its keys with: mlops config schema params")
    return mistakes.settle(params)


def shown(value: Any) -> str:
    """A value in one line.

    >>> shown(["configs/demo"]), shown(None), shown({"a": True})
    ('[configs/demo]', 'nothing', '{a: true}')
    """
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key}: {shown(inner)}" for key, inner in value.items()) + "}"
        case list():
            return f"[{', '.join(map(shown, value))}]"
        case _:
            return str(value)


_USAGE = "write KEY=VALUE, e.g. --set source.kind=csv; see the keys with: mlops config schema params"


def _split(assignment: str) -> tuple[list[str], Any]:
    dotted, equals, value = assignment.partition("=")
    key = dotted.strip().split(".")
    if not equals or not all(key):
        raise ConfigError(f"--set {assignment}: expected KEY=VALUE, was {was(assignment)}", _USAGE)
    try:
        return key, parse_yaml(value)
    except UnreadableYaml as error:
        raise ConfigError(f"--set {assignment}: {error}", "put the value in quotes") from error


def _complete(project: Project, document: Document) -> list[str]:
    before = project.params.read_text(encoding="utf-8")
    defaults = Params().model_dump(mode="json", exclude=_NOT_IN_THE_PIPELINE)
    lines = []
    for path in [*((key,) for key in defaults), *_NEEDED_BY_DVC]:
        holder = document.get(path[:-1]) if path[1:] else document.data
        if isinstance(holder, dict) and holder.get(path[-1]) is None:
            value = reduce(dict.__getitem__, path, defaults)
            document.put(path, value)
            lines.append(f"params.yaml: {'.'.join(path)}: added, {shown(value)}")
    lines += [f"params.yaml: {key}: date put in quotes, DVC reads no other" for key in document.quote_dates()]
    if document.text != before:
        save_params(project, document)
    else:
        checked(document)
    return lines
