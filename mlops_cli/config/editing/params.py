"""Edits params.yaml: comments stay, and only a valid file is written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from mlops_cli.config.editing.yaml_document import YamlDocument
from mlops_cli.config.load import check_params, load_scenario
from mlops_cli.config.mistakes import Mistakes, value_in_words
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import Params
from mlops_cli.config.yaml_files import UnreadableYaml, parse_yaml
from mlops_cli.errors import ConfigError
from mlops_cli.system.files import write_text

# dvc.yaml interpolates these: without them DVC cannot even read the pipeline
SCENARIO = ("simulation", "scenario")
_NEEDED_BY_DVC = (("source", "folder"), SCENARIO)
_NOT_IN_THE_PIPELINE = {"serving", "trading", "live"}


def set_values(project: Project, assignments: Sequence[str]) -> list[str]:
    """Write `KEY=VALUE` assignments into params.yaml; one line per value that changed, for the user.

    KEY is dotted, VALUE is YAML: `branches.mine.collection=[configs/mine]` creates a branch.

    Raises:
        ConfigError: an argument that is not an assignment, an unknown key, a wrong value or a scenario that does not
            exist. params.yaml is not changed then.
    """
    document = open_params(project)
    before, lines = document.get(SCENARIO), []
    for assignment in assignments:
        key, value = _parse_assignment(assignment)
        old = document.get(key)
        if old == value and type(old) is type(value):
            continue
        document.put(key, value)
        lines.append(f"params.yaml: {'.'.join(key)}: {shown(old)} -> {shown(value)}")
    if document.get(SCENARIO) != before:
        load_scenario(project, validated(document).simulation.scenario)
    return lines + _write_complete(project, document)


def ensure_complete(project: Project) -> list[str]:
    """Add the keys that DVC needs to params.yaml, and put dates in quotes, because DVC cannot read them without.

    One line per change, for the user; usually none.

    Raises:
        ConfigError: params.yaml has mistakes.
    """
    return _write_complete(project, open_params(project))


def open_params(project: Project) -> YamlDocument:
    """Open params.yaml for editing; a `ConfigError` if it is not YAML."""
    return open_document(project.params, "params.yaml")


def open_document(path: Path, name: str) -> YamlDocument:
    """Open a YAML file, called `name` in messages, for editing; a `ConfigError` if it is not YAML."""
    try:
        return YamlDocument(path.read_text(encoding="utf-8"), name)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: expected UTF-8 text", "save it as UTF-8") from error


def save_params(project: Project, document: YamlDocument) -> None:
    """Write an edited params.yaml; a `ConfigError` with every mistake in it if it has any, and no change then."""
    validated(document)
    write_text(project.params, document.text)


def validated(document: YamlDocument) -> Params:
    """The content of an edited params.yaml; a `ConfigError` with every mistake in it if it has any."""
    mistakes = Mistakes()
    params = check_params(parse_yaml(document.text), mistakes)
    mistakes.raise_if_any("params.yaml was not changed; list its keys with: mlops config schema params")
    return mistakes.value_or_raise(params)


def shown(value: Any) -> str:
    """A value in one line, for a message.

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


_USAGE = "write KEY=VALUE, e.g. --set source.kind=csv; list the keys with: mlops config schema params"


def _parse_assignment(assignment: str) -> tuple[list[str], Any]:
    dotted, equals, value = assignment.partition("=")
    key = dotted.strip().split(".")
    if not equals or not all(key):
        raise ConfigError(f"--set {assignment}: expected KEY=VALUE, was {value_in_words(assignment)}", _USAGE)
    try:
        return key, parse_yaml(value)
    except UnreadableYaml as error:
        raise ConfigError(f"--set {assignment}: {error}", "put the value in quotes") from error


def _write_complete(project: Project, document: YamlDocument) -> list[str]:
    """Add what DVC needs, validate the document, and write it if its text is not that of the file."""
    before = project.params.read_text(encoding="utf-8")
    defaults = Params().model_dump(mode="json", exclude=_NOT_IN_THE_PIPELINE)
    lines = []
    for path in [*((key,) for key in defaults), *_NEEDED_BY_DVC]:
        parent = document.get(path[:-1]) if path[1:] else document.data
        if isinstance(parent, dict) and parent.get(path[-1]) is None:
            value = reduce(dict.__getitem__, path, defaults)
            document.put(path, value)
            lines.append(f"params.yaml: {'.'.join(path)}: added, {shown(value)}")
    lines += [
        f"params.yaml: {key}: date put in quotes, because DVC cannot read it without" for key in document.quote_dates()
    ]
    if document.text != before:
        save_params(project, document)
    else:
        validated(document)
    return lines
