"""Models in MLflow's registry: the files of a version, and which version is champion."""

from __future__ import annotations

import math
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.tracking.mlflow_entities import FINGERPRINT
from mlops_cli.tracking.tracker import TrainedModel

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
MAE_RATIO = "mae_ratio"
FOLDER = "model"  # among the artifacts of a run
GRAPH, MLMODEL = "model.onnx", "MLmodel"  # in it, as MLflow names them


def upload(client: MlflowClient, model: TrainedModel, model_folder: Path, run: Run) -> None:
    """Store the ONNX model, in MLflow's format, and its manifest as artifacts of a run; existing files are replaced.

    The files are the same as those of `mlflow.onnx.save_model`, which looks up the installed packages for every model.
    `mlflow.onnx.log_model` does this too, and writes a logged model beside the run, uses global state and prints to
    stderr. `client.log_artifacts` would request the run again.
    """
    from mlflow.models import Model
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    flavors, common = model_format()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copyfile(model_folder / GRAPH, folder / GRAPH)
        size = (folder / GRAPH).stat().st_size
        described = Model(artifact_path=FOLDER, run_id=run.info.run_id, flavors=flavors, model_size_bytes=size)
        described.save(str(folder / MLMODEL))
        for name, content in common.items():
            (folder / name).write_bytes(content)
        manifest = model_folder / "manifest.json"
        if manifest.is_file():
            shutil.copyfile(manifest, folder / manifest.name)
        files = get_artifact_repository(run.info.artifact_uri, tracking_uri=client.tracking_uri)
        files.log_artifacts(str(folder), FOLDER)  # type: ignore[no-untyped-call]


@cache
def model_format() -> tuple[dict[str, Any], dict[str, bytes]]:
    """What is the same for every model: the flavors of `MLmodel`, and by name the files of the environment."""
    import mlflow.onnx
    import onnx
    from mlflow.models import Model

    described = Model()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / FOLDER
        mlflow.onnx.save_model(
            onnx.ModelProto(),
            str(folder),
            mlflow_model=described,
            # else MLflow starts a process that loads the model to find them out
            pip_requirements=mlflow.onnx.get_default_pip_requirements(),
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
        common = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in (GRAPH, MLMODEL)}
    return described.flavors, common


def register(client: MlflowClient, model: TrainedModel, run: Run, maybe_registered: bool) -> None:
    """Register the run's files as a version of `model.name`; it becomes champion if it beats the earlier champion.

    `maybe_registered`: an earlier call may have registered this version.
    """
    champion = _champion(client, model.name)
    version = _version_of(client, model.name, run) if maybe_registered else None
    if version is None:
        if champion is None:
            _ensure_registered(client, model.name)
        version = client.create_model_version(
            model.name,
            source=f"{run.info.artifact_uri}/{FOLDER}",
            run_id=run.info.run_id,
            tags={FINGERPRINT: model.fingerprint, MAE_RATIO: repr(_ratio(model.validation.get(MAE_RATIO)))},
            await_creation_for=0,
        )
    if champion is None or beats(_ratio(version.tags.get(MAE_RATIO)), _ratio(champion.tags.get(MAE_RATIO))):
        client.set_registered_model_alias(model.name, CHAMPION, version.version)


def beats(challenger: float, champion: float) -> bool:
    """Whether an MAE ratio is better (lower). NaN (unknown) beats nothing, and any number beats it."""
    return challenger < champion or (math.isnan(champion) and not math.isnan(challenger))


def _ratio(value: str | float | None) -> float:
    return math.nan if value is None else float(value)


def _champion(client: MlflowClient, name: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        # the first when there is no such model, the second when the model has no such alias
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _ensure_registered(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _version_of(client: MlflowClient, name: str, run: Run) -> ModelVersion | None:
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run.info.run_id}'", max_results=1)
    return versions[0] if versions else None
