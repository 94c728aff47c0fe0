"""`manifest.json` describes a model folder and its training. It holds no times: equal training gives equal bytes."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mlops_cli.config.schemas.project import Base, FeatureSpec, Target, TrainerKind
from mlops_cli.errors import ModelError
from mlops_cli.system.files import write_text

MANIFEST = "manifest.json"
GRAPH = "model.onnx"


class Span(BaseModel):
    """First and last session of some rows, and how many."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: date
    last: date
    sessions: int


class Validation(BaseModel):
    """MAE on the validation rows divided by that of the naive forecast, before and after shrinkage; 1: no better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mae_ratio_raw: float
    mae_ratio: float | None = None


class Manifest(BaseModel):
    """The description of a trained model.

    Attributes:
        fingerprint: hash of everything that decides the training (rows, spec, seed, library versions); a model with an
            equal fingerprint is not trained again.
        group: hash of the spec without its ticker: models of one group share their shrinkage.
        trained_until: last session whose close the model saw.
        drift: mean log return of the training rows, the drift baseline's forecast.
        shrinkage: lambda inside the graph; None until the group's choice is made: the model is not finished then.
        base: the base that forecasts are shrunk to (`models.base`).
        base_drift: mu inside the graph, the drift of the base.
        levels: of the prediction intervals that the graph gives, in percent, rising; empty: it has no such output.
        width_factor: factor inside the graph by which the widths of the intervals are multiplied.
        facts: remarks of the trainer.
        files: sha256 of every other file of the folder, by relative path.
        branch: the branch that it was trained in; empty in manifests written before it was noted.
        small: name of the model that answers for this one under load, of the same branch.
        live: it was trained on everything known, by `mlops live` or a job, and not by the pipeline.
        over: of a live version, the version of the pipeline's model when it was installed; empty if there was none.
        settings: hash of everything but the rows that decides the training; empty where it was not noted.
        rows: hash of the rows that it was trained on; empty where it was not noted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    team: str
    ticker: str
    exchange: str
    trainer: TrainerKind
    target: Target
    features: FeatureSpec
    inputs: tuple[str, ...]
    fingerprint: str
    group: str
    seed: int
    train: Span
    validation_rows: Span
    trained_until: date
    drift: float
    shrinkage: float | None = None
    base: Base = "none"
    base_drift: float = 0.0
    levels: tuple[float, ...] = ()
    width_factor: float = 1.0
    validation: Validation
    epochs: list[dict[str, float]] = []
    facts: dict[str, float | int | str] = {}
    versions: dict[str, str] = {}
    files: dict[str, str] = {}
    branch: str = ""
    small: str | None = None
    live: bool = False
    over: str = ""
    settings: str = ""
    rows: str = ""

    @property
    def version(self) -> str:
        """The first 12 digits of the graph's hash: the same for equal weights and equal shrinkage."""
        return self.files.get(GRAPH, "")[:12]

    @property
    def recipe(self) -> tuple[str, tuple[str, ...]]:
        """What versions of one config have in common: the group, and the columns of the input."""
        return self.group, self.inputs

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into `folder`, whole or not at all."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, sort_keys=True)
        write_text(folder / MANIFEST, text + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read a model folder's manifest; a `ModelError` if it is missing or damaged."""
    path = folder / MANIFEST
    if path.exists() and not path.is_file():  # reading a pipe or a device might never end
        text = f"{path}: cannot be read: it is not a regular file"
        raise ModelError(text, f"remove {folder} and run: mlops train")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{folder} is no model folder: {MANIFEST} is missing", "train it: mlops train") from None
    except OSError as error:  # such as rights, a folder of that name, a failing disk
        raise ModelError(f"{path}: cannot be read: {error.strerror}", f"remove {folder} and run: mlops train") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelError(f"{path}: damaged: {where}: {first['msg']}", f"remove {folder} and run: mlops train") from None


def manifest_values(folder: Path) -> dict[str, Any] | None:
    """Read `manifest.json` without checking it, so that an unfinished or older model can be shown as far as it goes.

    Returns:
        Its values; None if the folder or the file is missing.

    Raises:
        ModelError: the file is no JSON.
    """
    path = folder / MANIFEST
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ModelError(f"{path}: no JSON: {error}", f"remove {folder} and run: mlops train") from error
    return values


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file of a model folder but the manifest, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def fingerprint(parts: Any) -> str:
    """sha256 of anything JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
