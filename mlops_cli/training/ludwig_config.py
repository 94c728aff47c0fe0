"""Complete a model's Ludwig config, and map its input features to columns of the exported graph's input."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import ConfigError, bounded

TARGET = "target"
HISTORY = "history"
TICKER = "ticker"  # of pooled models: a category input
SPLIT = "split"
NOT_OURS = {"backend", "hyperopt"}  # sections of a Ludwig config that would have no effect, and are refused
SPECIAL_TYPES = {HISTORY: "timeseries", TICKER: "category"}
EVAL_ROWS = 8192
RECURRENT_DEFAULT = {"type": "rnn", "cell_type": "gru", "state_size": 32}


@dataclass(frozen=True)
class InputSlice:
    """A Ludwig input feature as columns [start, start + width) of the graph's input."""

    name: str
    start: int
    width: int

    def of(self, rows: Any) -> Any:
        """The feature's part of `rows` (rows, columns), a tensor: (rows,) for a number, (rows, width) for a series."""
        return rows[:, self.start] if self.width == 1 else rows[:, self.start : self.start + self.width]


def history_inputs(inputs: Sequence[str]) -> list[str]:
    """The columns that form the time series `history`, oldest first."""
    return [name for name in inputs if name.startswith(f"{HISTORY}_")]


def build_config(spec: ModelSpec, inputs: Sequence[str]) -> dict[str, Any]:
    """Complete `spec.ludwig`, any part of a plain Ludwig config: input features, output feature, split by date.

    Raises:
        ConfigError: the config names columns that do not exist, or parts that cannot be honoured.
    """
    config = copy.deepcopy(spec.ludwig)
    where = f"{spec.file or spec.name}: ludwig"
    for key in NOT_OURS & config.keys():
        hint = "take it out: each config is trained once, as it stands"
        raise ConfigError(f"{where}.{key}: has no effect here", hint)
    preprocessing = _section(config, "preprocessing", where)
    if SPLIT in preprocessing:
        hint = "set training.validation_sessions in params.yaml and start in the scenario"
        raise ConfigError(f"{where}.preprocessing.split: cannot be set, rows are split by date", hint)
    preprocessing[SPLIT] = {"type": "fixed", "column": SPLIT}
    config["input_features"] = _input_features(config.get("input_features"), inputs, bool(spec.pool), where)
    config["output_features"] = [_output_feature(config.get("output_features"), where)]
    defaults = _section(config, "defaults", where)
    number = _section(defaults, "number", f"{where}.defaults")
    _section(number, "preprocessing", f"{where}.defaults.number").setdefault("normalization", "zscore")
    _section(defaults, "timeseries", f"{where}.defaults").setdefault("encoder", dict(RECURRENT_DEFAULT))
    # one forward pass an epoch instead of metric updates on every batch: twice as fast, and the loss is of one model
    _section(config, "trainer", where).setdefault("evaluate_training_set", True)
    # left out, Ludwig would try sizes until one is fast, and losses would depend on the machine
    _section(config, "trainer", where).setdefault("eval_batch_size", EVAL_ROWS)
    return config


def layout(config: dict[str, Any], inputs: Sequence[str]) -> list[InputSlice]:
    """Find the columns of each Ludwig input feature of `config` among `inputs`, in the order of the config.

    The ticker of a pooled model has no column, because it is the same in all rows of a ticker.
    """
    steps = history_inputs(inputs)
    at = {name: position for position, name in enumerate(inputs)}
    return [
        InputSlice(feature["name"], at[steps[0]], len(steps))
        if feature["name"] == HISTORY
        else InputSlice(feature["name"], at[feature["name"]], 1)
        for feature in config["input_features"]
        if feature["name"] != TICKER
    ]


def _section(parent: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    """The mapping under a key. It is created if the key is missing or has no value."""
    if parent.get(key) is None:
        parent[key] = {}
    if not isinstance(parent[key], dict):
        raise ConfigError(f"{where}.{key}: expected a mapping (key: value), was {parent[key]!r}")
    section: dict[str, Any] = parent[key]
    return section


def _input_features(given: Any, inputs: Sequence[str], pooled: bool, where: str) -> list[dict[str, Any]]:
    steps = history_inputs(inputs)
    names = _feature_names(inputs, steps, pooled)
    if given is None:
        given = [{"name": name} for name in names]
    if not isinstance(given, list) or not given:
        raise ConfigError(f"{where}.input_features: expected a list of features, was {given!r}")
    if pooled and not any(isinstance(feature, dict) and feature.get("name") == TICKER for feature in given):
        given = [*given, {"name": TICKER}]
    return [
        _input_feature(feature, names, len(steps), f"{where}.input_features[{i}]") for i, feature in enumerate(given)
    ]


def _feature_names(inputs: Sequence[str], steps: Sequence[str], pooled: bool) -> list[str]:
    """The names that an input feature may have: a column, the time series of all steps, or the ticker of a pool."""
    names = [name for name in inputs if name not in steps]
    if steps:
        names.append(HISTORY)
    if pooled:
        names.append(TICKER)
    return names


def _input_feature(feature: Any, names: list[str], steps: int, where: str) -> dict[str, Any]:
    if not isinstance(feature, dict) or "name" not in feature:
        raise ConfigError(f"{where}: expected a mapping with a name, was {feature!r}")
    name = feature["name"]
    if name not in names:
        raise ConfigError(f"{where}.name: no column {name!r} in the feature set", f"columns: {bounded(names, 40)}")
    complete = _only(feature, {"type": SPECIAL_TYPES.get(name, "number"), "column": name}, where)
    preprocessing = _section(complete, "preprocessing", where)
    if name == HISTORY:
        whole = {"timeseries_length_limit": steps, "window_size": 0}
        complete["preprocessing"] = _only(preprocessing, whole, f"{where}.preprocessing")
    return complete


def _only(feature: dict[str, Any], fixed: dict[str, Any], where: str) -> dict[str, Any]:
    """Add the values of `fixed` to a feature. A feature that has another value for one of the keys is refused."""
    for key, value in fixed.items():
        if feature.get(key, value) != value:
            raise ConfigError(f"{where}.{key}: expected {value}, was {feature[key]!r}")
    return {**fixed, **feature}


def _output_feature(given: Any, where: str) -> dict[str, Any]:
    if given is None:
        given = [{}]
    if not isinstance(given, list) or len(given) != 1 or not isinstance(given[0], dict):
        raise ConfigError(f"{where}.output_features: expected one feature (the target), was {given!r}")
    here = f"{where}.output_features[0]"
    feature = _only({"loss": {"type": "huber"}, **given[0]}, {"name": TARGET, "type": "number", "column": TARGET}, here)
    # log returns are of the order 0.01: unscaled, the first epochs would only shrink the random initial forecasts
    _section(feature, "preprocessing", here).setdefault("normalization", "zscore")
    return feature
