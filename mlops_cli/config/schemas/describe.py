"""What the schemas expect, in words: for messages, for `mlops config schema` and for docs/configuration.md."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mlops_cli.config.schemas.field_types import Expect

_PLAIN = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    date: 'a date such as "2024-01-31"',
    Path: "a path",
    Any: "anything",
}


@dataclass(frozen=True)
class Key:
    """One key of a file: dotted path, what it takes, its default as YAML would show it ("" if it must be given)."""

    path: str
    takes: str
    default: str
    description: str


@dataclass(frozen=True)
class Place:
    """Where a pydantic error lies.

    Attributes:
        path: the keys and positions as they stand in the file, without pydantic's own additions.
        expected: what the value there should be, in words.
        known: the keys that may stand in the mapping that holds the last key of `path`; empty if any may.
    """

    path: tuple[str | int, ...]
    expected: str
    known: tuple[str, ...]


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """All keys of a file in the order of the schema, nested ones dotted; `<name>` stands for a name of the user's."""
    for name, field in model.model_fields.items():
        path, annotation = f"{prefix}{name}", _annotation(field)
        inner = _models_in(annotation)
        yield Key(path, words(annotation), "" if field.is_required() else _default(field), field.description or "")
        if inner:
            step = ".<name>." if get_origin(_bare(annotation)[0]) is dict else "."
            yield from keys(inner[0], f"{path}{step}")


def words(annotation: Any) -> str:
    """What a value of this type is, with an article: "a whole number of at least 2"."""
    bare, metadata = _bare(annotation)
    told = next((m.words for m in metadata if isinstance(m, Expect)), None)
    if told:
        return told
    origin, args = get_origin(bare), get_args(bare)
    if origin is Literal:
        return _either(map(str, args))
    if _is_union(bare):
        # limits of the whole field hold for its members
        return _either("nothing" if a is type(None) else words(Annotated[a, *metadata, None]) for a in args)
    if origin is tuple:
        return f"a list (each: {words(args[0])})"
    return _PLAIN.get(bare, "a mapping") + _limits(metadata)


def locate(model: type[BaseModel], location: Sequence[str | int]) -> Place:
    """Follow a pydantic error location through the schema."""
    annotation: Any = model
    path: list[str | int] = []
    known: tuple[str, ...] = ()
    key_type: Any = str
    for position, part in enumerate(location):
        bare = _bare(annotation)[0]
        origin, args = get_origin(bare), get_args(bare)
        members = [a for a in args if a is not type(None)] if _is_union(bare) else []
        if len(members) == 1:
            bare, origin, args = members[0], get_origin(members[0]), get_args(members[0])
        elif members:
            # the part is pydantic's name of a member; only a model has keys of its own further down
            deeper = [m for m in members if _is_model(m)] if position + 1 < len(location) else []
            annotation = deeper[0] if deeper else annotation
            continue
        if part == "[key]":
            return Place(tuple(path), f"{words(key_type)} as key", ())
        path.append(part)
        key_type = args[0] if origin is dict else str
        known = tuple(bare.model_fields) if _is_model(bare) else ()
        annotation = _step(bare, origin, args, part)
    return Place(tuple(path), words(annotation), known)


def _step(bare: Any, origin: Any, args: tuple[Any, ...], part: str | int) -> Any:
    if _is_model(bare):
        field = bare.model_fields.get(part)
        return _annotation(field) if field else Any
    if origin is dict:
        return args[1]
    return args[0] if args else Any


def _annotation(field: FieldInfo) -> Any:
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _bare(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    bare, *metadata = get_args(annotation)
    flat = [inner for m in metadata for inner in (m.metadata if isinstance(m, FieldInfo) else [m])]
    return bare, tuple(flat)


def _either(choices: Iterable[str]) -> str:
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def _is_union(bare: Any) -> bool:
    return get_origin(bare) in (Union, types.UnionType)


def _is_model(bare: Any) -> bool:
    return isinstance(bare, type) and issubclass(bare, BaseModel)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    bare = _bare(annotation)[0]
    if _is_model(bare):
        return [bare]
    return [model for argument in get_args(bare) for model in _models_in(argument)]


def _limits(metadata: Sequence[Any]) -> str:
    found = {name: getattr(m, name) for m in metadata for name in ("gt", "ge", "lt", "le") if hasattr(m, name)}
    if isinstance(found.get("lt"), int) and "ge" in found:  # whole numbers
        found["le"] = found.pop("lt") - 1
    if "ge" in found and "le" in found:
        return f" from {found['ge']} to {found['le']}"
    phrases = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}
    return "".join(f" {phrases[name]} {limit}" for name, limit in found.items())


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if value is None or (isinstance(value, Mapping | tuple) and not value):
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
