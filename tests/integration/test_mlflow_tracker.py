"""The real MLflow on sqlite: what is in it afterwards, and what happens when it cannot be reached."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_cli.errors import ModelError
from mlops_cli.tracking.mlflow_tracker import MlflowTracker
from mlops_cli.tracking.tracker import RunContext, TrainedModel

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.slow,  # mlflow's import and a new database take seconds each
    # MLflow 3.17 itself: with SQLAlchemy 2.1, and while mlflow.pyfunc is imported
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

numbers = count()


def line(slope: float, folder: Path) -> Path:
    """A model that gives the sum of two features times `slope`."""
    weights = numpy_helper.from_array(np.full((2, 1), slope, np.float32), "slope")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "slope"], ["forecast"])],
        "line",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("forecast", TensorProto.FLOAT, ["rows", 1])],
        [weights],
    )
    folder.mkdir()
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    (folder / "manifest.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlruns.db"


class Desk:
    """One experiment in the shared database, and what a stage needs to write to it."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri, self.folder, self.experiment = uri, folder, f"experiment-{next(numbers)}"

    def tracker(self, **options: Any) -> MlflowTracker:
        """A tracker as a process of its own would make it."""
        return MlflowTracker(self.uri, self.folder / "runs", experiment=self.experiment, **options)

    def model(self, ticker: str = "AAPL", generation: int = 1, ratio: float = 0.99, **other: Any) -> TrainedModel:
        name = f"{self.experiment}-{ticker.lower()}"
        return TrainedModel(
            name=name,
            team="red",
            ticker=ticker,
            branch="red",
            fingerprint=f"{name.encode().hex()}{generation:04x}".rjust(64, "0")[-64:],
            params={"seed": 7, "trainer": {"epochs": 2, "batch_size": 512}},
            epochs=other.get("epochs", [{"train_loss": 3.0, "validation_loss": 4.0}, {"train_loss": 1.0}]),
            validation={"mae": 0.02, "mae_ratio": ratio},
            folder=line(float(generation), self.folder / f"model-{next(numbers)}"),
        )

    @property
    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def runs(self) -> list[Run]:
        experiment = self.client.get_experiment_by_name(self.experiment)
        assert experiment is not None
        return list(self.client.search_runs([experiment.experiment_id]))

    def parents(self) -> list[Run]:
        return [run for run in self.runs() if "mlflow.parentRunId" not in run.data.tags]

    def children(self) -> dict[str, Run]:
        """Child runs by name; a name twice is an error."""
        children = [run for run in self.runs() if "mlflow.parentRunId" in run.data.tags]
        by_name = {str(run.info.run_name): run for run in children}
        assert len(by_name) == len(children)
        return by_name

    def champion(self, model: TrainedModel) -> int:
        return int(self.client.get_model_version_by_alias(model.name, "champion").version)

    def versions(self, model: TrainedModel) -> int:
        return len(self.client.search_model_versions(f"name = '{model.name}'"))


@pytest.fixture
def desk(uri: str, tmp_path: Path) -> Desk:
    return Desk(uri, tmp_path)


MORNING = RunContext("2026-01-05T07.00", "red", "0123abc", "4567.dir", "mlops train --branch red")
EVENING = replace(MORNING, key="2026-01-05T19.00", git_commit="89def", data_hash="abcd.dir")


class TestWhatIsInIt:
    def test_one_parent_and_a_child_per_model_all_finished(self, desk: Desk) -> None:
        models = [desk.model("AAPL"), desk.model("IBM")]
        desk.tracker().record_training(models, MORNING)
        (parent,) = desk.parents()
        children = desk.children()
        assert set(children) == {model.name for model in models}
        assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
        assert {run.info.status for run in desk.runs()} == {"FINISHED"}
        assert parent.info.run_name == "mlops run 2026-01-05T07.00"
        assert parent.data.tags["mlops.run"] == MORNING.key

    def test_a_child_has_params_losses_metrics_code_and_data(self, desk: Desk) -> None:
        model = desk.model()
        desk.tracker().record_training([model], MORNING)
        child = desk.children()[model.name]
        assert child.data.params == {"seed": "7", "trainer.epochs": "2", "trainer.batch_size": "512"}
        assert child.data.metrics == {
            "train_loss": 1.0,
            "validation_loss": 4.0,
            "validation/mae": 0.02,
            "validation/mae_ratio": 0.99,
        }
        losses = desk.client.get_metric_history(child.info.run_id, "train_loss")
        assert [(loss.step, loss.value) for loss in losses] == [(1, 3.0), (2, 1.0)]
        tags = child.data.tags
        assert tags["mlflow.source.git.commit"] == "0123abc"
        assert tags["mlflow.source.name"] == "mlops train --branch red"
        assert tags["mlops.data_hash"] == "4567.dir"
        assert (tags["mlops.team"], tags["mlops.ticker"], tags["mlops.branch"]) == ("red", "AAPL", "red")
        assert tags["mlops.fingerprint"] == model.fingerprint
        (used,) = child.inputs.dataset_inputs
        assert (used.dataset.name, used.dataset.digest) == (model.name, model.fingerprint[:36])
        assert "4567.dir" in used.dataset.source

    def test_the_files_are_those_that_mlflow_itself_would_save(self, desk: Desk, tmp_path: Path) -> None:
        import mlflow.onnx
        from mlflow.models import Model

        model = desk.model()
        desk.tracker().record_training([model], MORNING)
        run = desk.children()[model.name].info
        found = Path(run.artifact_uri.removeprefix("file://")) / "model"
        own = Model(artifact_path="model", run_id=run.run_id)
        mlflow.onnx.save_model(
            onnx.load(model.folder / "model.onnx"),
            str(tmp_path / "own"),
            mlflow_model=own,
            pip_requirements=mlflow.onnx.get_default_pip_requirements(),
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
        names = {path.name for path in (tmp_path / "own").iterdir()}
        assert {path.name for path in found.iterdir()} == names | {"manifest.json"}
        for name in names - {"MLmodel"}:
            assert (found / name).read_bytes() == (tmp_path / "own" / name).read_bytes()
        described = Model.load(str(found)).to_dict()
        assert described | {key: own.to_dict()[key] for key in ("model_uuid", "utc_time_created")} == own.to_dict()
        assert described["model_uuid"] != own.model_uuid

    def test_more_values_than_mlflow_takes_at_once(self, desk: Desk) -> None:
        epochs = [{"train_loss": float(number), "validation_loss": 1.0} for number in range(700)]
        model = replace(desk.model(epochs=epochs), params={f"p{number}": number for number in range(250)})
        desk.tracker().record_training([model], MORNING)
        child = desk.children()[model.name]
        assert len(child.data.params) == 250
        assert len(desk.client.get_metric_history(child.info.run_id, "train_loss")) == 700

    def test_the_files_lie_where_they_were_told_to(
        self, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")  # MLflow's own default is a folder mlruns in the working directory
        model = desk.model()
        desk.tracker().record_training([model], MORNING)
        child = desk.children()[model.name]
        files = {path.name for path in (desk.folder / "runs" / child.info.run_id / "artifacts" / "model").iterdir()}
        assert {"MLmodel", "model.onnx", "manifest.json", "requirements.txt"} <= files
        assert not list(Path.cwd().iterdir())

    def test_the_champion_can_be_loaded_and_forecasts_the_same(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import mlflow

        model = desk.model(generation=3)
        desk.tracker().record_training([model], MORNING)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", desk.uri)
        features = np.array([[1.0, 2.0], [3.0, -4.0]], np.float32)
        before = onnxruntime.InferenceSession(model.folder / "model.onnx").run(None, {"features": features})[0]
        assert before.tolist() == [[9.0], [-3.0]]
        graph = mlflow.onnx.load_model(f"models:/{model.name}@champion").SerializeToString()
        after = onnxruntime.InferenceSession(graph).run(None, {"features": features})[0]
        assert np.array_equal(before, after)
        generic = mlflow.pyfunc.load_model(f"models:/{model.name}@champion").predict(features)
        assert np.array_equal(before, generic["forecast"])

    def test_models_can_be_left_out(self, desk: Desk) -> None:
        model = replace(desk.model(), folder=desk.folder / "nowhere")
        desk.tracker(log_models=False).record_training([model], MORNING)
        child = desk.children()[model.name]
        assert child.info.status == "FINISHED"
        assert desk.client.list_artifacts(child.info.run_id) == []
        assert desk.versions(model) == 0

    def test_a_model_without_its_file_is_an_error_of_the_caller(self, desk: Desk) -> None:
        model = replace(desk.model(), folder=desk.folder / "nowhere")
        with pytest.raises(ModelError, match=r"no model\.onnx to track in .*nowhere"):
            desk.tracker().record_training([model], MORNING)


def test_a_process_that_tracks_is_silent_even_when_it_makes_the_database(tmp_path: Path) -> None:
    folder = line(1.0, tmp_path / "model")
    code = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "from mlops_cli.tracking.mlflow_tracker import MlflowTracker\n"
        "from mlops_cli.tracking.tracker import RunContext, TrainedModel\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "root, folder = map(Path, sys.argv[1:])\n"
        "model = TrainedModel('red-aapl', 'red', 'AAPL', 'red', 'ab', {}, [], {'mae_ratio': 0.9}, folder)\n"
        "tracker = MlflowTracker(f'sqlite:///{root}/mlruns.db', root / 'mlruns')\n"
        "tracker.record_training([model], RunContext('key'))\n"
        "tracker.record_test({model.key: {'mae': 1.0}}, RunContext('key'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(folder)],
        cwd=Path(__file__).parents[2],
        env={name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")
    with sqlite3.connect(tmp_path / "mlruns.db") as database:
        assert database.execute("SELECT DISTINCT status FROM runs").fetchall() == [("FINISHED",)]
    database.close()


class TestStagesOfOneRun:
    def test_later_stages_find_the_parent(self, desk: Desk) -> None:
        desk.tracker().record_training([desk.model("AAPL")], MORNING)
        desk.tracker().record_training([desk.model("IBM")], replace(MORNING, branch="blue"))
        assert len(desk.parents()) == 1
        assert len(desk.children()) == 2

    def test_the_next_run_has_a_parent_of_its_own(self, desk: Desk) -> None:
        desk.tracker().record_training([desk.model("AAPL")], MORNING)
        desk.tracker().record_training([desk.model("IBM")], EVENING)
        assert {run.data.tags["mlops.run"] for run in desk.parents()} == {MORNING.key, EVENING.key}

    def test_without_a_key_each_stage_is_a_run_of_its_own(self, desk: Desk) -> None:
        alone = replace(MORNING, key="")
        desk.tracker().record_training([desk.model("AAPL")], alone)
        desk.tracker().record_training([desk.model("IBM")], alone)
        assert [run.info.run_name for run in desk.parents()] == ["mlops train --branch red"] * 2

    def test_the_parent_ends_with_its_last_stage(self, desk: Desk) -> None:
        desk.tracker().record_training([desk.model("AAPL")], MORNING)
        first = desk.parents()[0].info.end_time
        desk.tracker().record_training([desk.model("IBM")], MORNING)
        assert desk.parents()[0].info.end_time > first

    def test_test_metrics_go_onto_the_child(self, desk: Desk) -> None:
        models = [desk.model("AAPL"), desk.model("IBM")]
        desk.tracker().record_training(models, MORNING)
        desk.tracker().record_test(
            {model.key: {"mae": number} for number, model in enumerate(models)}, replace(MORNING, git_commit="new")
        )
        children = desk.children()
        assert [children[model.name].data.metrics["test/mae"] for model in models] == [0.0, 1.0]
        assert children[models[0].name].data.tags["mlops.test.git_commit"] == "new"
        assert children[models[0].name].data.tags["mlflow.source.git.commit"] == "0123abc"

    def test_only_changed_test_metrics_are_written(self, desk: Desk) -> None:
        model = desk.model()
        desk.tracker().record_training([model], MORNING)
        for hits in (0.5, 0.5, 0.6):
            desk.tracker().record_test({model.key: {"mae": 0.02, "hits": hits}}, MORNING)
        run_id = desk.children()[model.name].info.run_id
        assert [metric.value for metric in desk.client.get_metric_history(run_id, "test/hits")] == [0.5, 0.6]
        assert len(desk.client.get_metric_history(run_id, "test/mae")) == 1

    def test_a_test_belongs_to_its_own_training(self, desk: Desk) -> None:
        old, new = desk.model(generation=1), desk.model(generation=2)
        desk.tracker().record_training([old], MORNING)
        desk.tracker().record_training([new], EVENING)
        desk.tracker().record_test({old.key: {"mae": 1.0}, new.key: {"mae": 2.0}}, EVENING)
        tested = {run.data.tags.get("mlops.fingerprint"): run.data.metrics.get("test/mae") for run in desk.runs()}
        assert (tested[old.fingerprint], tested[new.fingerprint]) == (1.0, 2.0)

    def test_a_test_without_a_training_is_told(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        desk.tracker().record_training([desk.model("AAPL")], MORNING)
        desk.tracker().record_test({(f"stranger-{number}", "00"): {"mae": 1.0} for number in range(7)}, MORNING)
        assert [record.getMessage() for record in caplog.records] == [
            "no tracked training for the test metrics of: stranger-0, stranger-1, stranger-2, stranger-3, stranger-4"
            " and 2 more"
        ]


class TestChampion:
    def test_the_first_is_champion(self, desk: Desk) -> None:
        model = desk.model(ratio=1.5)
        desk.tracker().record_training([model], MORNING)
        assert desk.champion(model) == 1

    @pytest.mark.parametrize(("ratio", "champion"), [(0.98, 2), (0.99, 1), (1.0, 1), (float("nan"), 1)])
    def test_the_next_is_if_its_validation_is_better(self, desk: Desk, ratio: float, champion: int) -> None:
        desk.tracker().record_training([desk.model(generation=1, ratio=0.99)], MORNING)
        desk.tracker().record_training([desk.model(generation=2, ratio=ratio)], EVENING)
        assert desk.versions(desk.model()) == 2
        assert desk.champion(desk.model()) == champion

    def test_it_must_beat_the_champion_not_the_latest(self, desk: Desk) -> None:
        for generation, ratio in enumerate([0.97, 0.99, 0.98], start=1):
            desk.tracker().record_training([desk.model(generation=generation, ratio=ratio)], MORNING)
        assert desk.champion(desk.model()) == 1

    def test_a_champion_of_unknown_worth_is_beaten(self, desk: Desk) -> None:
        desk.tracker().record_training([replace(desk.model(generation=1), validation={})], MORNING)
        desk.tracker().record_training([desk.model(generation=2)], EVENING)
        assert desk.champion(desk.model()) == 2

    def test_a_champion_that_was_deposed_by_hand_is_replaced(self, desk: Desk) -> None:
        model = desk.model(ratio=0.9)
        desk.tracker().record_training([model], MORNING)
        desk.client.delete_registered_model_alias(model.name, "champion")
        desk.tracker().record_training([desk.model(generation=2, ratio=1.0)], EVENING)
        assert desk.champion(model) == 2

    def test_each_model_has_its_own(self, desk: Desk) -> None:
        desk.tracker().record_training([desk.model("AAPL", 1, 0.99), desk.model("IBM", 1, 0.99)], MORNING)
        desk.tracker().record_training([desk.model("AAPL", 2, 0.98), desk.model("IBM", 2, 1.00)], EVENING)
        assert (desk.champion(desk.model("AAPL")), desk.champion(desk.model("IBM"))) == (2, 1)


class CtrlC(Sequence[Mapping[str, float]]):
    """Epochs at whose sight the user stops the program: a process that dies in the middle of a model."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        raise KeyboardInterrupt


class TestOnceAgain:
    def test_the_same_training_twice_is_one(self, desk: Desk) -> None:
        models = [desk.model("AAPL"), desk.model("IBM")]
        for context in (MORNING, MORNING, EVENING):
            desk.tracker().record_training(models, context)
        assert len(desk.children()) == 2
        assert len(desk.parents()) == 1, "a run that trained nothing new leaves no trace"
        assert [desk.versions(model) for model in models] == [1, 1]

    def test_the_same_model_twice_in_one_call_is_one(self, desk: Desk) -> None:
        model = desk.model()
        desk.tracker().record_training([model, model], MORNING)
        assert desk.versions(model) == 1
        assert len(desk.children()) == 1

    def test_more_models_than_fit_into_one_question(self, desk: Desk) -> None:
        model = desk.model()
        many = [replace(model, name=f"{model.name}-{n}", fingerprint=f"{n:064x}"[::-1]) for n in range(102)]
        for _ in range(2):
            desk.tracker(log_models=False).record_training(many, MORNING)
        assert len(desk.children()) == 102
        assert desk.tracker().count_trainings([one.name for one in many]) == 102

    def test_after_a_crash_the_rest_is_done(self, desk: Desk) -> None:
        whole = [desk.model("AAPL"), desk.model("IBM"), desk.model("MSFT")]
        with pytest.raises(KeyboardInterrupt):
            desk.tracker().record_training([whole[0], replace(whole[1], epochs=CtrlC()), whole[2]], MORNING)
        status = {run.info.run_name: run.info.status for run in desk.runs()}
        assert status == {
            "mlops run 2026-01-05T07.00": "FINISHED",
            whole[0].name: "FINISHED",
            whole[1].name: "KILLED",
        }
        desk.tracker().record_training(whole, EVENING)
        children = desk.children()
        assert {run.info.status for run in children.values()} == {"FINISHED"}
        assert [desk.versions(model) for model in whole] == [1, 1, 1]
        parent_of = {run.info.run_id: run.data.tags["mlops.run"] for run in desk.parents()}
        assert [parent_of[children[model.name].data.tags["mlflow.parentRunId"]] for model in whole] == [
            MORNING.key,
            EVENING.key,
            EVENING.key,
        ]
        assert children[whole[1].name].data.metrics["train_loss"] == 1.0

    def test_a_crash_before_the_alias_makes_no_second_version(self, desk: Desk) -> None:
        model = desk.model()
        desk.tracker().record_training([model], MORNING)
        run_id = desk.children()[model.name].info.run_id
        desk.client.set_terminated(run_id, "KILLED")
        desk.client.delete_registered_model_alias(model.name, "champion")
        desk.tracker().record_training([replace(model, params={"seed": 8, "host": "other"})], MORNING)
        assert (desk.versions(model), desk.champion(model)) == (1, 1)
        child = desk.children()[model.name]
        assert child.info.status == "FINISHED"
        assert (child.data.params["seed"], child.data.params["host"]) == ("7", "other")
        assert len(desk.client.get_metric_history(run_id, "train_loss")) == 2

    def test_a_run_deleted_by_the_user_is_tracked_anew(self, desk: Desk) -> None:
        model = desk.model()
        desk.tracker().record_training([model], MORNING)
        desk.client.delete_run(desk.children()[model.name].info.run_id)
        desk.tracker().record_training([model], EVENING)
        assert desk.children()[model.name].info.status == "FINISHED"


class WebPage(BaseHTTPRequestHandler):
    """A web server that is no MLflow."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def only_warning(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("mlops.tracking", logging.WARNING)
    return record.getMessage()


class TestOutOfOrder:
    @pytest.fixture
    def model(self, tmp_path: Path) -> TrainedModel:
        return Desk("", tmp_path).model()

    @pytest.fixture
    def ready(self, uri: str, tmp_path: Path, model: TrainedModel) -> Path:
        """A database of MLflow's own that is nobody else's."""
        MlflowTracker(uri, tmp_path / "runs", "ready").record_test({model.key: {"mae": 1.0}}, MORNING)
        path = tmp_path / "mlruns.db"
        with sqlite3.connect(uri.removeprefix("sqlite:///")) as shared, sqlite3.connect(path) as own:
            shared.backup(own)
        shared.close()
        own.close()
        return path

    def expect(self, uri: str, model: TrainedModel, caplog: pytest.LogCaptureFixture) -> str:
        """Both calls, twice; how many seconds it took is bounded, and one warning says why. Returns that."""
        caplog.clear()
        tracker = MlflowTracker(uri, model.folder / "runs")
        begin = time.monotonic()
        for _ in range(2):
            tracker.record_training([model], MORNING)
            tracker.record_test({model.key: {"mae": 1.0}}, MORNING)
        assert time.monotonic() - begin < 60  # MLflow's own patience is 100 s for a database, 240 s for a server
        return only_warning(caplog)

    def test_a_server_that_is_down(self, model: TrainedModel, caplog: pytest.LogCaptureFixture) -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            warning = self.expect(f"http://me:secret@127.0.0.1:{held.getsockname()[1]}", model, caplog)
        assert "Connection refused" in warning
        assert "secret" not in warning

    def test_a_server_that_never_answers(
        self, model: TrainedModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")  # instead of five seconds
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            assert "timeout" in self.expect(f"http://127.0.0.1:{silent.getsockname()[1]}", model, caplog)

    def test_a_server_that_is_no_mlflow(self, model: TrainedModel, caplog: pytest.LogCaptureFixture) -> None:
        with ThreadingHTTPServer(("127.0.0.1", 0), WebPage) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                assert "cannot be used" in self.expect(f"http://127.0.0.1:{server.server_port}", model, caplog)
            finally:
                server.shutdown()
                thread.join()

    def test_a_file_that_is_no_database(
        self, model: TrainedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
        assert "file is not a database" in self.expect(f"sqlite:///{tmp_path}/broken.db", model, caplog)

    def test_a_place_where_no_file_can_be(
        self, model: TrainedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("x")
        assert "file" in self.expect(f"sqlite:///{tmp_path}/file/mlruns.db", model, caplog)
        (tmp_path / "folder.db").mkdir()
        assert "unable to open database file" in self.expect(f"sqlite:///{tmp_path}/folder.db", model, caplog)

    def test_a_database_that_must_not_be_written(
        self, model: TrainedModel, ready: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(ready.parent)  # MLflow takes such an address for a path and makes its folders
        address = f"sqlite:///file:{ready}?mode=ro&uri=true"
        assert "readonly database" in self.expect(address, model, caplog)

    def test_a_database_that_another_process_keeps_locked(
        self, model: TrainedModel, ready: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        holder = sqlite3.connect(ready, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        try:
            # one second instead of five
            assert "database is locked" in self.expect(f"sqlite:///{ready}?timeout=1", model, caplog)
        finally:
            holder.close()

    def test_a_database_of_a_newer_mlflow(
        self, model: TrainedModel, ready: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with sqlite3.connect(ready) as own:
            own.execute("UPDATE alembic_version SET version_num = 'fffffffffff0'")
        own.close()
        assert "schema" in self.expect(f"sqlite:///{ready}", model, caplog)

    def test_a_database_of_a_newer_mlflow_without_a_table(
        self, model: TrainedModel, ready: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with sqlite3.connect(ready) as own:
            own.execute("UPDATE alembic_version SET version_num = 'fffffffffff0'")
            own.execute("DROP TABLE latest_metrics")
        own.close()
        assert "fffffffffff0" in self.expect(f"sqlite:///{ready}", model, caplog)

    @pytest.mark.parametrize(
        ("uri", "reason"),
        [
            ("carrier-pigeon://roof", "unsupported URI"),
            ("sqlite:/mlruns.db", "Could not parse"),
            ("postgresql+nodriver://host/x", "nodriver"),
            ("./mlruns", "maintenance mode"),
        ],
    )
    def test_a_wrong_address(
        self, uri: str, reason: str, model: TrainedModel, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        assert reason in self.expect(uri, model, caplog)

    def test_a_folder_for_files_that_cannot_be_made(
        self, model: TrainedModel, ready: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "taken").write_text("x")
        tracker = MlflowTracker(f"sqlite:///{ready}", tmp_path / "taken")
        tracker.record_training([model], MORNING)
        assert "taken" in only_warning(caplog)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real `mlflow server` on loopback."""
    folder = tmp_path_factory.mktemp("server")
    address = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", address.rpartition(":")[2], "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlruns.db", "--artifacts-destination", f"{folder}/files"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | quiet, stdout=log, stderr=log, cwd=folder)
    try:
        for _ in range(600):
            try:
                urlopen(f"{address}/health", timeout=5).close()
                break
            except URLError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


def test_a_server_keeps_the_same(
    server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    desk = Desk(server, tmp_path)
    model = desk.model(generation=1, ratio=0.99)
    desk.tracker().record_training([model], MORNING)
    desk.tracker().record_training([model], MORNING)
    desk.tracker().record_training([desk.model(generation=2, ratio=0.98)], EVENING)
    desk.tracker().record_test({model.key: {"mae": 0.5}}, EVENING)
    assert (capfd.readouterr(), caplog.messages) == (("", ""), [])
    assert {run.info.status for run in desk.runs()} == {"FINISHED"}
    assert len(desk.parents()) == 2
    assert (desk.versions(model), desk.champion(model)) == (2, 2)
    assert not (tmp_path / "runs").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    features = np.array([[1.0, 2.0]], np.float32)
    loaded = mlflow.pyfunc.load_model(f"models:/{model.name}@champion")
    assert loaded.predict(features)["forecast"].tolist() == [[6.0]]
