"""Checks what a person or an HTTP client asks for, and makes job requests of it.

A job runs on our machines with our files, so its config may name nothing outside the project: no file, no address, no
model to download. Only the parts of a Ludwig config that describe a network and its training are taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlops_cli.config.collection import ModelCollection
from mlops_cli.config.mistakes import Mistakes, value_in_words
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelFile, ModelSpec
from mlops_cli.live.jobs.job import JobRequest
from mlops_cli.models.manifest import fingerprint

MOST_MODELS = 1_000
"""Models of one request."""
_MOST_VALUES, _MOST_DEPTH, _LONGEST_TEXT = 20_000, 20, 1_000
_SECTIONS = frozenset(
    {"model_type", "input_features", "output_features", "combiner", "trainer", "preprocessing", "defaults"}
)
_PLACES = ("/", "\\", "~", "..", "\0", "$")
"""Parts of paths and addresses; no value of a network or its training has them."""
_OUTSIDE = (
    "adapter", "backend", "base_model", "cache_dir", "checkpoint", "credentials", "custom", "dataset", "file",
    "hyperopt", "path", "pretrained", "profiler", "trust_remote_code", "url",
)  # fmt: skip
"""Keys that contain one of these words name files, downloads or code."""
_HARMLESS = frozenset({"path_smooth", "checkpoints_per_epoch", "steps_per_checkpoint", "enable_gradient_checkpointing"})
_ROLES = {"name", "file", "small", "small_of"}  # not part of what is learnt
_FILE = "job"
_HINT = "correct it and submit it again"


@dataclass(frozen=True)
class _Value:
    """A value inside a mapping: the keys that lead to it, the last one of them, and how many they are."""

    where: str
    key: str
    value: Any
    depth: int


def requested_models(project: Project, team: str, body: Any) -> list[ModelSpec]:
    """Check the keys of a model file, for example `{"ticker": "AAPL"}`; returns the models that it describes.

    Args:
        project: whose configs/base.yaml completes the models.
        team: who asks, from its token; the body need not name it.
        body: what was sent, as JSON or YAML was parsed.

    Raises:
        ConfigError: every mistake in it, or in the project's configs/base.yaml.
    """
    mistakes = Mistakes()
    _check_shape(body, mistakes)
    mistakes.raise_if_any(_HINT)
    if isinstance(body, dict):
        if body.get("team", team) != team:
            mistakes.add(_FILE, f"was {value_in_words(body['team'])}, but the request comes from team {team}", "team")
        body = {**body, "team": team}
    parsed = mistakes.validate(ModelFile, body, _FILE)
    if parsed is not None:
        _check_size(parsed, mistakes)
        _check_inside(parsed.ludwig, "ludwig", mistakes)
        _check_inside(parsed.small.ludwig if parsed.small else {}, "small.ludwig", mistakes)
    mistakes.raise_if_any(_HINT)
    specs = ModelCollection(project, mistakes).resolve(mistakes.value_or_raise(parsed), _FILE)
    mistakes.raise_if_any(_HINT)
    return list(specs or ())


def job_request(spec: ModelSpec, data: str) -> JobRequest:
    """The request for a model; `data` names what to train it on, for example the last finished session."""
    learnt = learnt_from(spec)
    alike = {key: learnt[key] for key in ("trainer", "features", "target", "ludwig")}
    return JobRequest(
        team=spec.team,
        model=spec.name,
        fingerprint=fingerprint([learnt, data]),
        architecture=fingerprint(alike)[:16],
        spec=spec.model_dump_json(),
        data=data,
    )


def learnt_from(spec: ModelSpec) -> dict[str, Any]:
    """What decides how a model is trained, as JSON values: equal for models with the same config."""
    return spec.model_dump(mode="json", exclude=_ROLES)


def _check_size(parsed: ModelFile, mistakes: Mistakes) -> None:
    if len(parsed.all_tickers) > MOST_MODELS:
        mistakes.add(_FILE, f"{len(parsed.all_tickers)} tickers, at most {MOST_MODELS}: divide it", "tickers")
    if parsed.pool:
        mistakes.add(_FILE, "a job trains one model: take it out, or train the pool with mlops run", "pool")


def _check_shape(body: Any, mistakes: Mistakes) -> None:
    """Bound what the checks that follow, the database and JSON have to bear."""
    for count, item in enumerate(_values("", body)):
        if count >= _MOST_VALUES:
            mistakes.add(_FILE, f"has more than {_MOST_VALUES:,} values")
            return
        if item.depth > _MOST_DEPTH:
            mistakes.add(_FILE, f"is nested more than {_MOST_DEPTH} levels deep")
            return
        fault = _fault(item)
        if fault:
            mistakes.add(_FILE, fault, item.where)


def _fault(item: _Value) -> str:
    match item.value:
        case float() if not math.isfinite(item.value):
            return "expected a finite number"
        case int() if abs(item.value) >= 2**63:
            return "expected a number below 2^63"
        case str() if len(item.value) > _LONGEST_TEXT:
            return f"expected at most {_LONGEST_TEXT} characters"
        case None | str() | int() | float() | list() | dict():
            return f"expected keys of at most {_LONGEST_TEXT} characters" if len(item.key) > _LONGEST_TEXT else ""
        case _:
            return f"expected a value of JSON, was a {type(item.value).__name__}"


def _check_inside(config: Any, under: str, mistakes: Mistakes) -> None:
    """Note every part of a Ludwig config that reaches outside of the project."""
    if not isinstance(config, dict):
        return  # refused by the schema
    for section in config:
        if section not in _SECTIONS:
            mistakes.add(_FILE, "a job may not set this section", f"{under}.{section}")
    for item in _values(under, config):
        fault = _reach(item)
        if fault:
            mistakes.add(_FILE, fault, item.where)
    if config.get("model_type", "ecd") != "ecd":
        mistakes.add(_FILE, "expected ecd", f"{under}.model_type")


def _reach(item: _Value) -> str:
    """What is wrong with a value that names something outside of the project; empty if it does not."""
    harmless = item.key in _HARMLESS or item.value in (None, False)
    if not harmless and any(word in item.key for word in _OUTSIDE):
        return "a job may not name files, downloads or code"
    if isinstance(item.value, str) and any(sign in item.value for sign in _PLACES):
        return f"{item.value[:60]!r} looks like a path or an address, which a job may not name"
    return ""


def _values(where: str, value: Any) -> Iterator[_Value]:
    """A value and all values inside it; not recursive, because a hostile nesting may be deep."""
    pending = [_Value(where, "", value, 0)]
    while pending:
        item = pending.pop()
        yield item
        match item.value:
            case dict():
                children = [(str(key), child) for key, child in item.value.items()]
            case list():
                children = [(str(position), child) for position, child in enumerate(item.value)]
            case _:
                children = []
        for key, child in children:
            pending.append(_Value(f"{item.where}.{key[:60]}".lstrip("."), key, child, item.depth + 1))
