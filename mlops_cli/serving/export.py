"""Model repositories for other servers: the layout of Triton, and the same with a manifest for KServe.

Layout and keys as of Triton's model repository and `ModelConfig` (docs/user_guide of triton-inference-server) and
KServe's v1beta1 InferenceService: `<model>/config.pbtxt` and `<model>/<number>/model.onnx`; the highest number answers
where a request names none.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from mlops_cli.errors import ConfigError, MlopsError, ModelError, bounded
from mlops_cli.models.graph import INPUT, INTERVAL, OUTPUT, RAW_OUTPUT
from mlops_cli.models.manifest import GRAPH
from mlops_cli.models.store import check_files
from mlops_cli.models.versions import VersionFolder, answering_version, model_versions

SERVICE = "inference-service.yaml"
REPOSITORY = "models"


@dataclass
class Exported:
    """Models in the repository, each with its versions in the order of their numbers; and why others are missing."""

    models: dict[str, list[str]] = field(default_factory=dict)
    failures: dict[str, MlopsError] = field(default_factory=dict)


def export_triton(root: Path, models: Sequence[tuple[str, str]], folder: Path) -> Exported:
    """Write a Triton model repository into a new or empty folder; `models` are branch and name of each.

    Raises:
        ConfigError: the folder holds something.
        ModelError: no model can be exported.
    """
    return _written(folder, lambda part: _repository(root, models, part))


def export_kserve(root: Path, models: Sequence[tuple[str, str]], folder: Path, storage: str) -> Exported:
    """Write `models/`, a Triton model repository, and `inference-service.yaml`, one service for all of them.

    `storage` is where the cluster will find the contents of `models/`, such as pvc://CLAIM/PATH or s3://BUCKET/PATH.

    Raises:
        ConfigError: the folder holds something.
        ModelError: no model can be exported.
    """

    def write(part: Path) -> Exported:
        done = _repository(root, models, part / REPOSITORY)
        (part / SERVICE).write_text(_service(storage))
        return done

    return _written(folder, write)


def _written(folder: Path, write: Callable[[Path], Exported]) -> Exported:
    """Let `write` fill a hidden folder, then rename it: the folder is complete or absent."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty", "give a new folder, or empty this one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}")
    try:
        done = write(part)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return done


def _repository(root: Path, models: Sequence[tuple[str, str]], folder: Path) -> Exported:
    done = Exported()
    names = Counter(name for _, name in models)
    for branch, name in models:
        # Triton allows no slash; a branch has no dot, so this cannot be the name of another model
        shown = name if names[name] == 1 else f"{branch}.{name}"
        try:
            versions = _versions(root, branch, name)
        except MlopsError as error:
            done.failures[shown] = error
            continue
        for number, version in enumerate(versions, start=1):
            place = folder / shown / str(number)
            place.mkdir(parents=True)
            shutil.copyfile(version.folder / GRAPH, place / GRAPH)
        (folder / shown / "config.pbtxt").write_text(_config(shown, versions))
        done.models[shown] = [version.version for version in versions]
    if not done.models:
        why = bounded(sorted({error.message for error in done.failures.values()}), 3)
        raise ModelError(f"nothing to export: {why or 'no model is configured'}", "run: mlops run")
    return done


def _versions(root: Path, branch: str, name: str) -> list[VersionFolder]:
    """The versions to export; the one that answers comes last.

    Versions with other inputs or levels are left out, because one config describes all versions of a model.
    """
    answers = answering_version(root, branch, name)
    check_files(answers.folder, answers.manifest)
    others = [other for other in reversed(model_versions(root, branch, name)) if other.version != answers.version]
    kind = answers.manifest.inputs, answers.manifest.levels
    alike = [other for other in others if (other.manifest.inputs, other.manifest.levels) == kind]
    return [*(other for other in alike if _is_whole(other)), answers]


def _is_whole(version: VersionFolder) -> bool:
    try:
        check_files(version.folder, version.manifest)
    except ModelError:
        return False
    return True


def _config(name: str, versions: list[VersionFolder]) -> str:
    inputs, levels = versions[-1].manifest.inputs, versions[-1].manifest.levels
    interval = f',\n  {{ name: "{INTERVAL}" data_type: TYPE_FP32 dims: [ -1, {2 * len(levels)} ] }}' if levels else ""
    facts = {
        "ticker": versions[-1].manifest.ticker,
        "columns": ",".join(inputs),
        **({"levels": ",".join(f"{level:g}" for level in levels)} if levels else {}),
        **{f"version_{number}": version.version for number, version in enumerate(versions, start=1)},
    }
    parameters = "".join(
        f"parameters {{ key: {json.dumps(key)} value {{ string_value: {json.dumps(value)} }} }}\n"
        for key, value in facts.items()
    )
    # Triton adds no batch dimension: rows are the first dimension of the graph itself, as in mlops serve
    return (
        f'name: "{name}"\n'
        'platform: "onnxruntime_onnx"\n'
        "max_batch_size: 0\n"
        f'input [ {{ name: "{INPUT}" data_type: TYPE_FP32 dims: [ -1, {len(inputs)} ] }} ]\n'
        "output [\n"
        f'  {{ name: "{OUTPUT}" data_type: TYPE_FP32 dims: [ -1 ] }},\n'
        f'  {{ name: "{RAW_OUTPUT}" data_type: TYPE_FP32 dims: [ -1 ] }}{interval}\n'
        "]\n"
        "version_policy { all { } }\n"
        "instance_group [ { kind: KIND_CPU count: 1 } ]\n"
        f"{parameters}"
    )


def _service(storage: str) -> str:
    return (
        "apiVersion: serving.kserve.io/v1beta1\n"
        "kind: InferenceService\n"
        "metadata:\n"
        "  name: mlops\n"
        "spec:\n"
        "  predictor:\n"
        "    model:\n"
        "      modelFormat: {name: onnx}\n"
        "      runtime: kserve-tritonserver\n"
        "      protocolVersion: v2\n"
        f"      storageUri: {json.dumps(storage)}\n"
        "      resources:\n"
        "        requests: {cpu: '1', memory: 2Gi}\n"
        "        limits: {memory: 4Gi}\n"
    )
