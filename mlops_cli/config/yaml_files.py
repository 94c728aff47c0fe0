"""Reads and writes YAML files.

Scalars are read by the rules of YAML 1.2, as DVC reads params.yaml. PyYAML follows YAML 1.1, which reads the tickers
ON, NO and Y as booleans, 1_000 and 12:30 as numbers, and 1e-3 as text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

# CSafeLoader parses in C; a PyYAML without libyaml does not have it
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
# TRUE, FALSE and NULL, which the standard allows, are left out: a word in capitals is a ticker
_BOOL = re.compile(r"^(?:true|True|false|False)$")
_NULL = re.compile(r"^(?:~|null|Null|)$")


class UnreadableYaml(ValueError):  # noqa: N818 - always caught, and shown as part of a ConfigError
    """A file that is not YAML; the message says where in the file and why."""


class _Loader(_Base):  # type: ignore[misc]  # its base is chosen at run time
    """YAML 1.2 scalars, no dates (pydantic reads them from text), no repeated keys."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


def _int(loader: Any, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str | int | float | bool | None):
            raise UnreadableYaml(f"line {line}: expected a plain key, was a {type(key).__name__}")
        if key in seen:
            raise UnreadableYaml(f"line {line}: key {key} is repeated (first in line {seen[key]})")
        seen[key] = line
    loader.flatten_mapping(node)
    return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_yaml(text: str) -> Any:
    """Parse one YAML document; an `UnreadableYaml` if it is not YAML, or a mapping repeats a key."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UnreadableYaml(f"{where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UnreadableYaml(str(error).replace("\n", " ")) from error


def read_yaml(path: Path) -> Any:
    """Read one YAML file; an `UnreadableYaml` if it is missing, cannot be read, or is not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableYaml(f"expected UTF-8 text: byte {error.start} is something else") from error
    except OSError as error:
        raise UnreadableYaml(f"cannot be read: {error.strerror}") from error
    return parse_yaml(text)
