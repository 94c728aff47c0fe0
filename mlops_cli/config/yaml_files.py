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


MOST_CHARACTERS, MOST_DEPTH = 1_000_000, 100
MOST_VALUES = 500_000
"""Values of a document with its aliases and merge keys written out; a million characters hold fewer of them."""
MOST_DIGITS = 100
TOO_LONG = f"has more than {MOST_CHARACTERS:,} characters: divide it into several files"


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
    if len(text) > MOST_DIGITS:
        raise UnreadableYaml(f"line {node.start_mark.line + 1}: a number of {len(text):,} digits")
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
    """Parse one YAML document, in time and memory that its length bounds.

    Raises:
        UnreadableYaml: it is not YAML, a mapping repeats a key, or the document is too large or nested too deeply, by
            itself or with its aliases and merge keys (`<<`) written out.
    """
    try:
        _check_events(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_written_out(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except UnreadableYaml:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UnreadableYaml(f"{where}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise UnreadableYaml(str(error).replace("\n", " ")) from error
    except (ValueError, ArithmeticError, TypeError, LookupError, AttributeError) as error:
        raise UnreadableYaml(f"a value does not fit its tag (!!...): {error}") from error


def _check_events(text: str) -> None:
    """Refuse a text that is too long or nested too deeply; PyYAML composes nodes with a function that calls itself."""
    if len(text) > MOST_CHARACTERS:
        raise UnreadableYaml(TOO_LONG)
    depth = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MOST_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise UnreadableYaml(f"line {line}: is nested more than {MOST_DEPTH} levels deep")


def _check_written_out(root: yaml.Node) -> None:
    """Refuse a document whose aliases and merge keys, written out, give too many values or too deep a nesting.

    A node that several aliases name is one object, so each is measured once.
    """
    sizes: dict[int, tuple[int, int]] = {}  # by node: values and levels, once its children are measured
    begun: set[int] = set()
    pending = [root]
    while pending:
        node, children = pending[-1], _children(pending[-1])
        if id(node) not in begun:
            begun.add(id(node))
            pending += [child for child in children if id(child) not in begun]
            continue
        pending.pop()
        if id(node) in sizes:
            continue
        # an alias inside its own value has no size yet; constructing it is refused
        values, levels = _size([sizes.get(id(child), (1, 1)) for child in children])
        if values > MOST_VALUES or levels > MOST_DEPTH:
            much = f"more than {MOST_VALUES:,} values" if values > MOST_VALUES else f"more than {MOST_DEPTH} levels"
            raise UnreadableYaml(f"line {node.start_mark.line + 1}: gives {much} with its aliases written out")
        sizes[id(node)] = values, levels


def _size(parts: list[tuple[int, int]]) -> tuple[int, int]:
    """Values and levels of a node with these parts."""
    return 1 + sum(part[0] for part in parts), 1 + max((part[1] for part in parts), default=0)


def _children(node: yaml.Node) -> list[yaml.Node]:
    match node:
        case yaml.MappingNode():
            return [part for pair in node.value for part in pair]
        case yaml.SequenceNode():
            return list(node.value)
        case _:
            return []


def read_yaml(path: Path) -> Any:
    """Read one YAML file; an `UnreadableYaml` if it is missing, cannot be read, or is not YAML."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe or a device may never end
            raise UnreadableYaml("cannot be read: is no regular file")
        if path.stat().st_size > 4 * MOST_CHARACTERS:
            raise UnreadableYaml(TOO_LONG)
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableYaml(f"expected UTF-8 text: byte {error.start} is something else") from error
    except OSError as error:
        raise UnreadableYaml(f"cannot be read: {error.strerror}") from error
    return parse_yaml(text)
