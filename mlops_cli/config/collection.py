"""Expands the entries of a branch's `collection:` into resolved models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from mlops_cli.config.mistakes import Mistakes, suggestion
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import BaseFile, FeatureSpec, ModelFile, ModelSpec, SmallVariant, slug
from mlops_cli.config.yaml_files import parse_yaml

_LONGEST_NAME = 64
_SMALL_ENDING = "-small"


class ModelCollection:
    """The model files of a project. Each file is read once, even if several branches contain it.

    `mistakes` collects the mistakes of all files; no method raises because of a file.
    """

    def __init__(self, project: Project, mistakes: Mistakes) -> None:
        self.project = project
        self.mistakes = mistakes
        self._files: dict[str, tuple[Path, ...]] = {}
        self._models: dict[Path, tuple[ModelSpec, ...] | None] = {}
        self._base = self._read_base()

    def files(self, entry: str, key: str) -> tuple[Path, ...]:
        """The model files of one entry (a file, a folder or a glob), sorted; `key` names the entry in messages."""
        if entry not in self._files:
            self._files[entry] = tuple(self._find(entry, key))
        return self._files[entry]

    def models(self, file: Path) -> tuple[ModelSpec, ...] | None:
        """The models of one file; None if the file or base.yaml contains a mistake."""
        if file not in self._models:
            self._models[file] = self._read_models(file)
        return self._models[file]

    def all_files(self) -> tuple[Path, ...]:
        """Every model file under configs/, whether a branch contains it or not."""
        return tuple(_yaml_files(self.project.configs, self.project.base))

    def _find(self, entry: str, key: str) -> list[Path]:
        where = os.path.normpath(entry)
        if Path(where).is_absolute() or Path(where).parts[:1] != ("configs",):
            text = f"{entry!r} is not under configs/, the only folder of configs that DVC watches"
            self.mistakes.add("params.yaml", text, key)
            return []
        is_glob = bool(set(where) & set("*?["))
        paths = sorted(self.project.root.glob(where)) if is_glob else [self.project.root / where]
        files = [file for path in paths if path.exists() for file in _yaml_files(path, self.project.base)]
        if not files:
            self.mistakes.add("params.yaml", f"{entry!r} contains no model file (*.yaml)", key)
        return files

    def _read_base(self) -> BaseFile | None:
        base = parse_yaml(resources.files("mlops_cli").joinpath("templates/base.yaml").read_text(encoding="utf-8"))
        path = self.project.base
        file = str(path.relative_to(self.project.root))
        own = (self.mistakes.read(path, file) if path.exists() else None) or {}
        if self.mistakes.validate(BaseFile, own, file) is None:
            return None
        # a feature set in base.yaml replaces the packaged one as a whole; the Ludwig configs are merged key by key
        base["feature_sets"] = {**base["feature_sets"], **own.get("feature_sets", {})}
        base["ludwig"] = merged(base["ludwig"], own.get("ludwig", {}))
        checked = BaseFile.model_validate({**own, **{k: v for k, v in base.items() if k not in own or k in _MERGED}})
        return checked if self._features(checked.features, checked, file) else None

    def _read_models(self, path: Path) -> tuple[ModelSpec, ...] | None:
        file = str(path.relative_to(self.project.root))
        parsed = self.mistakes.validate(ModelFile, self.mistakes.read(path, file), file)
        return None if parsed is None else self.resolve(parsed, file)

    def resolve(self, parsed: ModelFile, file: str) -> tuple[ModelSpec, ...] | None:
        """The models of a model file's content; None after a mistake. `file` names it in messages."""
        if self._base is None:
            return None
        names = {ticker: _model_name(parsed, ticker) for ticker in parsed.all_tickers}
        lengths_fit = self._check_lengths(names.values(), parsed, file)
        fields = self._model_fields(parsed, self._base, file)
        if fields is None or not lengths_fit:
            return None
        changes = self._small_changes(parsed.small, fields, self._base, file) if parsed.small else {}
        if changes is None:
            return None
        return tuple(spec for ticker, name in names.items() for spec in _specs(name, ticker, fields, changes))

    def _check_lengths(self, names: Iterable[str], parsed: ModelFile, file: str) -> bool:
        ending = _SMALL_ENDING if parsed.small else ""
        too_long = [name + ending for name in names if len(name + ending) > _LONGEST_NAME]
        if too_long:
            self.mistakes.add(file, f"gives the model name {too_long[0]}, longer than {_LONGEST_NAME} characters")
        return not too_long

    def _model_fields(self, parsed: ModelFile, base: BaseFile, file: str) -> dict[str, Any] | None:
        """The fields of `ModelSpec` that all models of a file share; None after a mistake."""
        inherited = {name: getattr(parsed if name in parsed.model_fields_set else base, name) for name in _INHERITED}
        features = self._features(inherited["features"], base, file)
        if parsed.pool and inherited["trainer"] != "ludwig":
            text = f"needs trainer: ludwig, was {inherited['trainer']}: a baseline is not trained"
            self.mistakes.add(file, text, "pool")
            return None
        if features is None:
            return None
        return {
            **inherited,
            "team": parsed.team,
            "features": features,
            "ludwig": merged(base.ludwig, parsed.ludwig),
            "file": file,
            "pool": parsed.all_tickers if parsed.pool else (),
        }

    def _small_changes(
        self, small: SmallVariant, fields: dict[str, Any], base: BaseFile, file: str
    ) -> dict[str, Any] | None:
        """The fields in which the small variants of a file's models differ; None after a mistake."""
        features = self._features(small.features or fields["features"], base, file, "small.features")
        if features is None:
            return None
        trainer = small.trainer or fields["trainer"]
        return {
            "trainer": trainer,
            "features": features,
            "ludwig": merged(fields["ludwig"], small.ludwig),
            "pool": fields["pool"] if trainer == "ludwig" else (),  # a baseline is not trained
        }

    def _features(
        self, given: str | FeatureSpec, base: BaseFile, file: str, key: str = "features"
    ) -> FeatureSpec | None:
        if isinstance(given, FeatureSpec):
            return given
        if given not in base.feature_sets:
            similar = suggestion(given, base.feature_sets)
            self.mistakes.add(file, f"no feature set {given!r} in configs/base.yaml{similar}", key)
        return base.feature_sets.get(given)


_INHERITED = ("exchange", "trainer", "features", "target", "base")
_MERGED = ("feature_sets", "ludwig")


def merged(under: Any, over: Any) -> Any:
    """Merge two configs, of which `over` wins: mappings are merged key by key, other values are replaced.

    A mapping with another `type` replaces the one in `under` as a whole, because Ludwig refuses keys that belong to
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


def _specs(name: str, ticker: str, fields: dict[str, Any], changes: dict[str, Any]) -> Iterator[ModelSpec]:
    """A model and, if there are `changes`, its small variant, which differs in them."""
    small = f"{name}{_SMALL_ENDING}" if changes else None
    yield ModelSpec(name=name, ticker=ticker, small=small, **fields)
    if small:
        yield ModelSpec(name=small, ticker=ticker, small_of=name, **{**fields, **changes})


def _model_name(file: ModelFile, ticker: str) -> str:
    return slug("-".join(filter(None, (file.team, ticker, file.suffix))))


def _yaml_files(path: Path, base: Path) -> Iterator[Path]:
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        hidden = any(part.startswith(".") for part in file.relative_to(base.parent).parts)
        if file.suffix in (".yaml", ".yml") and file.is_file() and file != base and not hidden:
            yield file
