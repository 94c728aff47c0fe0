"""From the entries of a branch's `collection:` to resolved models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from mlops_cli.config.mistakes import Mistakes, suggestion
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import BaseFile, FeatureSpec, ModelFile, ModelSpec, Small, slug
from mlops_cli.config.yaml_files import parse_yaml

_LONGEST_NAME = 64
_SMALL = "-small"


class Collection:
    """The model files of a project; reads each one once, however many branches hold it.

    Args:
        project: the project folder.
        mistakes: where mistakes are noted; nothing here raises for a file's sake.
    """

    def __init__(self, project: Project, mistakes: Mistakes) -> None:
        self.project = project
        self.mistakes = mistakes
        self._files: dict[str, tuple[Path, ...]] = {}
        self._models: dict[Path, tuple[ModelSpec, ...] | None] = {}
        self._base = self._read_base()

    def files(self, entry: str, key: str) -> tuple[Path, ...]:
        """The model files behind one entry (a file, a folder or a glob), sorted; `key` names it in messages."""
        if entry not in self._files:
            self._files[entry] = tuple(self._find(entry, key))
        return self._files[entry]

    def models(self, file: Path) -> tuple[ModelSpec, ...] | None:
        """The models of one file; None if the file (or base.yaml) holds a mistake."""
        if file not in self._models:
            self._models[file] = self._read_models(file)
        return self._models[file]

    def all_files(self) -> tuple[Path, ...]:
        """Every model file under configs/, in a branch or not."""
        return tuple(_yaml_files(self.project.configs, self.project.base))

    def _find(self, entry: str, key: str) -> list[Path]:
        where = os.path.normpath(entry)
        if Path(where).is_absolute() or Path(where).parts[:1] != ("configs",):
            text = f"{entry!r} does not lie under configs/, the only folder of configs that DVC watches"
            self.mistakes.add("params.yaml", text, key)
            return []
        found = sorted(self.project.root.glob(where)) if set(where) & set("*?[") else [self.project.root / where]
        files = [file for path in found if path.exists() for file in _yaml_files(path, self.project.base)]
        if not files:
            self.mistakes.add("params.yaml", f"{entry!r} holds no model file (*.yaml)", key)
        return files

    def _read_base(self) -> BaseFile | None:
        base = parse_yaml(resources.files("mlops_cli").joinpath("templates/base.yaml").read_text(encoding="utf-8"))
        path = self.project.base
        file = str(path.relative_to(self.project.root))
        own = (self.mistakes.read(path, file) if path.exists() else None) or {}
        if self.mistakes.check(BaseFile, own, file) is None:
            return None
        # a feature set given anew is meant whole; the Ludwig config is meant key by key
        base["feature_sets"] = {**base["feature_sets"], **own.get("feature_sets", {})}
        base["ludwig"] = merged(base["ludwig"], own.get("ludwig", {}))
        checked = BaseFile.model_validate({**own, **{k: v for k, v in base.items() if k not in own or k in _MERGED}})
        return checked if self._features(checked.features, checked, file) else None

    def _read_models(self, path: Path) -> tuple[ModelSpec, ...] | None:
        file = str(path.relative_to(self.project.root))
        parsed = self.mistakes.check(ModelFile, self.mistakes.read(path, file), file)
        if parsed is None or self._base is None:
            return None
        given = {name: getattr(parsed if name in parsed.model_fields_set else self._base, name) for name in _INHERITED}
        features = self._features(given["features"], self._base, file)
        names = {ticker: _name(parsed, ticker) for ticker in parsed.all_tickers}
        ending = _SMALL if parsed.small else ""
        long = [name + ending for name in names.values() if len(name + ending) > _LONGEST_NAME]
        if long:
            self.mistakes.add(file, f"gives the model name {long[0]}, longer than {_LONGEST_NAME} characters")
        if parsed.pool and given["trainer"] != "ludwig":
            self.mistakes.add(file, f"needs trainer: ludwig, was {given['trainer']}: a baseline learns nothing", "pool")
            return None
        if features is None or long:
            return None
        ludwig = merged(self._base.ludwig, parsed.ludwig)
        shared = {**given, "team": parsed.team, "features": features, "ludwig": ludwig, "file": file}
        shared["pool"] = parsed.all_tickers if parsed.pool else ()
        over = self._small(parsed.small, shared, self._base, file) if parsed.small else {}
        if over is None:
            return None
        return tuple(spec for ticker, name in names.items() for spec in _specs(name, ticker, shared, over))

    def _small(self, small: Small, shared: dict[str, Any], base: BaseFile, file: str) -> dict[str, Any] | None:
        """What differs in the small variants of a file's models; None after a mistake."""
        features = self._features(small.features or shared["features"], base, file, "small.features")
        if features is None:
            return None
        trainer = small.trainer or shared["trainer"]
        return {
            "trainer": trainer,
            "features": features,
            "ludwig": merged(shared["ludwig"], small.ludwig),
            "pool": shared["pool"] if trainer == "ludwig" else (),  # a baseline learns nothing
        }

    def _features(
        self, given: str | FeatureSpec, base: BaseFile, file: str, key: str = "features"
    ) -> FeatureSpec | None:
        if isinstance(given, FeatureSpec):
            return given
        if given not in base.feature_sets:
            known = suggestion(given, base.feature_sets)
            self.mistakes.add(file, f"no feature set {given!r} in configs/base.yaml{known}", key)
        return base.feature_sets.get(given)


_INHERITED = ("exchange", "trainer", "features", "target")
_MERGED = ("feature_sets", "ludwig")


def merged(under: Any, over: Any) -> Any:
    """Lay one config over another: mappings key by key, anything else replaced.

    A mapping with another `type` replaces the lower one whole, because Ludwig refuses the keys of one type beside
    another type.

    >>> merged({"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"y": 3}, "b": [2]})
    {'a': {'x': 1, 'y': 3}, 'b': [2]}
    >>> merged({"c": {"type": "concat", "num_fc_layers": 2}}, {"c": {"type": "tabnet"}})
    {'c': {'type': 'tabnet'}}
    """
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    if "type" in under and over.get("type", under["type"]) != under["type"]:
        return over
    return {**under, **{key: merged(under.get(key), value) for key, value in over.items()}}


def _specs(name: str, ticker: str, shared: dict[str, Any], over: dict[str, Any]) -> Iterator[ModelSpec]:
    """A model and, where `over` says how it differs, its small variant."""
    small = f"{name}{_SMALL}" if over else None
    yield ModelSpec(name=name, ticker=ticker, small=small, **shared)
    if small:
        yield ModelSpec(name=small, ticker=ticker, small_of=name, **{**shared, **over})


def _name(file: ModelFile, ticker: str) -> str:
    return slug("-".join(filter(None, (file.team, ticker, file.suffix))))


def _yaml_files(path: Path, base: Path) -> Iterator[Path]:
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in found:
        hidden = any(part.startswith(".") for part in file.relative_to(base.parent).parts)
        if file.suffix in (".yaml", ".yml") and file.is_file() and file != base and not hidden:
            yield file
