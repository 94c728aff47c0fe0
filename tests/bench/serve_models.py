"""Collections of any size for the serving benchmark: one model that is trained here, and copies with other weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import numpy_helper

from mlops_cli.models.base import MATRIX, OFFSETS
from mlops_cli.models.manifest import GRAPH, Manifest, file_hashes, read_manifest
from tests.bench.bench_projects import BRANCH, BenchProject, Workplace, make_project

EPOCHS = 2  # the values of the weights do not change the time of a forecast
SESSIONS = 1000
SPREAD = 0.01  # relative change of a copy's weights


@dataclass(frozen=True)
class Collection:
    """A project whose models have the same architecture and different weights.

    Attributes:
        root: of the project.
        names: of its models.
        rows: real feature rows, float32 (sessions, columns), without NaN.
    """

    root: Path
    names: tuple[str, ...]
    rows: np.ndarray

    @property
    def models(self) -> Path:
        """Folder of its models."""
        return self.root / "models" / BRANCH


@dataclass(frozen=True)
class Seed:
    """The trained model and its project."""

    project: BenchProject

    @property
    def folder(self) -> Path:
        """Folder of a model."""
        return self.project.models / self.project.names[0]

    @property
    def table(self) -> Path:
        """Feature table of a model."""
        return self.project.root / "data" / "features" / BRANCH / f"{self.project.names[0]}.parquet"


def train_seed(place: Workplace) -> Seed:
    """Train the original model with the pipeline: 20 inputs, two layers of 64."""
    project = make_project(place, "seed", ["SEED"], SESSIONS, EPOCHS)
    for stage in ("ingest", "featurize", "train"):
        place.run("mlops", stage, cwd=project.root)
    return Seed(project)


def make_collection(folder: Path, seed: Seed, number: int, serving: dict[str, Any] | None = None) -> Collection:
    """A project with `number` copies of the seed. Each has its own weights, manifest and feature table.

    Args:
        folder: of the project; must not exist.
        seed: the model to copy.
        number: of models.
        serving: the part `serving:` of params.yaml.
    """
    shutil.copytree(seed.project.root, folder, ignore=shutil.ignore_patterns("models", ".git", ".dvc", ".mlops"))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump({**params, "serving": serving or {}}, sort_keys=False))
    names = tuple(f"bench-m{index:04d}" for index in range(number))
    collection = Collection(folder, names, _rows(seed))
    write_models(collection.models, names, seed, first=0)
    for name in names:
        shutil.copyfile(seed.table, folder / "data" / "features" / BRANCH / f"{name}.parquet")
    return collection


def write_models(models: Path, names: Sequence[str], seed: Seed, first: int) -> None:
    """Write a model folder for each name. Its weights depend only on the seed, its position and `first`."""
    graph, manifest = onnx.load(seed.folder / GRAPH), read_manifest(seed.folder)
    for index, name in enumerate(names):
        staged = models / f".{name}"
        staged.mkdir(parents=True)
        onnx.save(_reweighted(graph, first + index), staged / GRAPH)
        ticker = name.removeprefix("bench-").upper()
        values = manifest.model_dump() | {"name": name, "ticker": ticker, "files": file_hashes(staged)}
        Manifest(**values).write(staged)
        staged.rename(models / name)


def _reweighted(graph: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """The graph with slightly different matrices."""
    random = np.random.default_rng(seed)
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    for initializer in copy.graph.initializer:
        if initializer.data_type == onnx.TensorProto.FLOAT and initializer.name not in (MATRIX, OFFSETS):
            values = numpy_helper.to_array(initializer)
            factors = 1 + SPREAD * random.standard_normal(values.shape)
            initializer.CopyFrom(numpy_helper.from_array((values * factors).astype(np.float32), initializer.name))
    return copy


def _rows(seed: Seed) -> np.ndarray:
    import pandas as pd

    columns = list(read_manifest(seed.folder).inputs)
    return pd.read_parquet(seed.table, columns=columns).dropna().to_numpy(np.float32)
