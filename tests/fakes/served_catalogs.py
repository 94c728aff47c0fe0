"""Versions, models and catalogs as serving sees them, made without folders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from mlops_cli.serving.catalog.catalog import Catalog, ModelKey, ServedEnsemble, ServedModel
from mlops_cli.serving.contract.messages import Answer, Rung, ServedVersion


def version(number: str, **changes: Any) -> ServedVersion:
    """A version of ACME by team red with inputs a and b."""
    values: dict[str, Any] = {
        "version": number,
        "sha": f"sha-of-{number}",
        "folder": Path("models/main/red-acme"),
        "inputs": ("a", "b"),
        "ticker": "ACME",
        "team": "red",
        "trained_until": date(2020, 1, 2),
        "shrinkage": 0.5,
        "small": None,
    }
    return ServedVersion(**{**values, **changes})


def model(name: str, *numbers: str, branch: str = "main", **changes: Any) -> ServedModel:
    """A model with these versions, newest first; the newest answers. Other changes are of all versions."""
    of_model = {key: changes.pop(key) for key in ("quarantined", "default", "route", "shadow", "verdicts", "slug")
                if key in changes}  # fmt: skip
    versions = tuple(version(number, **changes) for number in numbers)
    values: dict[str, Any] = {"slug": name, "default": versions[0] if versions else None, **of_model}
    return ServedModel(name, branch, values.pop("slug"), versions, **values)


def ensemble(name: str, *members: tuple[ServedModel, float], reason: str = "") -> ServedEnsemble:
    """An ensemble of models with their weights."""
    return ServedEnsemble(name, members, reason)


def catalog(models: Sequence[ServedModel] = (), ensembles: Sequence[ServedEnsemble] = ()) -> Catalog:
    """A catalog of these models and ensembles."""
    return Catalog(
        {served.name: served for served in models},
        {},
        {ModelKey(served.branch, served.slug): served for served in models},
        {average.name: average for average in ensembles},
    )


def answer(name: str, *log_returns: float, number: str = "1", rung: Rung = "full", age: float = 0.0) -> Answer:
    """An answer of a model itself; unshrunk forecasts are twice the shrunk ones."""
    values = np.array(log_returns, dtype=np.float32)
    return Answer(name, name, number, values, 2 * values, rung, age, None)
