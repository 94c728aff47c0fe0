"""`mlops export`: what Triton and KServe read, as their own parsers and ONNX Runtime read it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.models.predict import Model
from mlops_cli.models.promotion import promote
from mlops_cli.models.versions import archive, model_versions
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.projects import SmallProject, small_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """Two models, one of them retrained with another column, then both with another shrinkage."""
    small = small_project(tmp_path_factory.mktemp("project") / "p", ["AAA", "BBB"])
    small.config("linear", "team: red\nticker: BBB\nfeatures: {returns: [1]}\n")
    params = small.root / "params.yaml"
    for returns, shrinkage in (("1", 0.25), ("1, 3", 0.25), ("1, 3", 0.5)):
        params.write_text(params.read_text().split("training:")[0] + f"training: {{shrinkage: {shrinkage}}}\n")
        small.config("other", f"team: red\nticker: AAA\nfeatures: {{returns: [{returns}]}}\n")
        small.run(LinearTrainer())
    return small


@pytest.fixture
def small(made: SmallProject, tmp_path: Path) -> SmallProject:
    return SmallProject(Path(shutil.copytree(made.root, tmp_path / "p")))


def export(small: SmallProject, *words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["export", "--project", str(small.root), *words])
    return done.exit_code, done.stdout, done.stderr


def config_of(folder: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def kept(small: SmallProject) -> list[str]:
    return [one.version for one in model_versions(small.project.model_root, "main", "red-aaa")]


def test_triton_gets_every_model_with_a_config_that_its_schema_takes(small: SmallProject, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, _ = export(small, "--format", "triton", str(out))
    assert code == 0
    # red-bbb has three: its drift is pooled with red-aaa's until that takes another column
    assert said == f"{out}: 2 models, 5 versions\n"
    assert sorted(path.name for path in out.iterdir()) == ["red-aaa", "red-bbb"]
    config = config_of(out / "red-aaa")
    assert (config.name, config.platform, config.max_batch_size) == ("red-aaa", "onnxruntime_onnx", 0)
    (features,) = config.input
    assert (features.name, features.data_type, list(features.dims)) == ("features", model_config_pb2.TYPE_FP32, [-1, 5])
    outputs = {one.name: list(one.dims) for one in config.output}
    assert outputs == {"log_return": [-1], "raw_log_return": [-1], "interval": [-1, 4]}
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    assert config.version_policy.WhichOneof("policy_choice") == "all"
    columns = "return_1,return_3,announced_dividend,width_80,width_95"
    assert config.parameters["columns"].string_value == columns
    assert config.parameters["levels"].string_value == "80,95"


def test_the_exported_graph_forecasts_what_the_model_does(small: SmallProject, tmp_path: Path) -> None:
    export(small, "--format", "triton", str(tmp_path / "out"))
    folder = tmp_path / "out" / "red-aaa"
    highest = max(folder.glob("[0-9]*"), key=lambda path: int(path.name))
    rows = np.random.default_rng(0).uniform(0, 0.1, size=(6, 5)).astype(np.float32)
    config = config_of(folder)
    session = onnxruntime.InferenceSession(highest / "model.onnx", providers=["CPUExecutionProvider"])
    shrunk, raw, interval = session.run([one.name for one in config.output], {config.input[0].name: rows})
    assert shrunk.shape == raw.shape == (6,)
    assert interval.shape == (6, 4)
    model = Model.open(small.project.models("main") / "red-aaa")
    expected = model.forecasts(pd.DataFrame(rows, columns=list(model.manifest.inputs)))
    np.testing.assert_array_equal((shrunk, raw), (expected.log_return, expected.raw_log_return))
    np.testing.assert_array_equal(interval, expected.interval)


def test_the_version_that_answers_has_the_highest_number(small: SmallProject, tmp_path: Path) -> None:
    newest, before, first = kept(small)
    export(small, "--format", "triton", str(tmp_path / "a"), "--only", "red-aaa")
    parameters = config_of(tmp_path / "a" / "red-aaa").parameters
    # the first takes one column, and one config has one shape
    assert [parameters[f"version_{n}"].string_value for n in (1, 2)] == [before, newest]
    promote(small.project, "main", "red-aaa", before)
    export(small, "--format", "triton", str(tmp_path / "b"), "--only", "red-aaa")
    parameters = config_of(tmp_path / "b" / "red-aaa").parameters
    assert [parameters[f"version_{n}"].string_value for n in (1, 2)] == [newest, before]
    promote(small.project, "main", "red-aaa", first)
    export(small, "--format", "triton", str(tmp_path / "c"), "--only", "red-aaa")
    assert sorted(path.name for path in (tmp_path / "c" / "red-aaa").iterdir()) == ["1", "config.pbtxt"]


def test_kserve_gets_one_service_for_all(small: SmallProject, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, _ = export(small, "--format", "kserve", str(out), "--storage-uri", "s3://bucket/models")
    assert code == 0
    service = yaml.safe_load((out / "inference-service.yaml").read_text())
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    model = service["spec"]["predictor"]["model"]
    assert (model["runtime"], model["protocolVersion"]) == ("kserve-tritonserver", "v2")
    assert model["storageUri"] == "s3://bucket/models"
    assert config_of(out / "models" / "red-bbb").name == "red-bbb"


def test_models_of_one_name_are_told_apart_by_their_branch(small: SmallProject, tmp_path: Path) -> None:
    params = small.root / "params.yaml"
    params.write_text(params.read_text().replace("{main: {", "{other: {collection: [configs/mine]}, main: {"))
    shutil.copytree(small.project.models("main"), small.project.models("other"))
    code, _, _ = export(small, "--format", "triton", str(tmp_path / "out"), "--only", "red-aaa")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["main.red-aaa", "other.red-aaa"]


def test_a_folder_that_holds_something_is_left_alone(small: SmallProject, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    code, _, said = export(small, "--format", "triton", str(tmp_path / "out"))
    assert code == 3
    assert "is not empty\nhint: give a new folder" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_damaged_models_are_left_out_and_named(small: SmallProject, tmp_path: Path) -> None:
    (small.project.models("main") / "red-bbb" / "model.onnx").write_bytes(b"half")
    newest, before, _ = kept(small)
    (archive(small.project.model_root, "main", "red-aaa") / before / "model.onnx").write_bytes(b"half")
    code, said, failed = export(small, "--format", "triton", str(tmp_path / "out"))
    assert code == 9
    assert "1 models, 1 versions" in said
    assert "left out: red-bbb: " in failed
    assert "does not match its manifest: model.onnx" in failed
    assert config_of(tmp_path / "out" / "red-aaa").parameters["version_1"].string_value == newest


def test_nothing_trained_is_nothing_to_export(tmp_path: Path) -> None:
    small = small_project(tmp_path / "p", ["AAA"])
    code, _, said = export(small, "--format", "triton", str(tmp_path / "out"))
    assert (code, "nothing to export: red-aaa: not trained" in said) == (6, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p"]
