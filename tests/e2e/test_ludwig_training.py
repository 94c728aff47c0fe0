"""Training with the real Ludwig: what it learns is what the graph says, and what it refuses harms nobody else."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import numpy_helper

from mlops_cli.models.graph import INPUT, RAW_OUTPUT, SHRINKAGE
from mlops_cli.models.session import start_session
from mlops_cli.training.local.ludwig_trainer import LudwigTrainer
from mlops_cli.training.local.workers import WorkerSettings
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.train_jobs import HISTORY, make_job, model_spec, same_job
from tests.fakes.wrapped_graphs import check_wrapped

pytestmark = [pytest.mark.ludwig, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINER = {"epochs": 3, "batch_size": 64, "eval_batch_size": 1024}
CONCAT = {"type": "concat", "num_fc_layers": 2, "output_size": 8, "dropout": 0.1}
PLAIN = {"combiner": CONCAT, "trainer": TRAINER}
GRU = {
    "input_features": [{"name": "history", "encoder": {"state_size": 4}}, {"name": "return_5"}],
    "combiner": {"type": "concat", "output_size": 8},
    "trainer": TRAINER,
}
GOOD = {
    "numbers": model_spec("numbers", ludwig=PLAIN),
    "neighbour": model_spec("neighbour", ludwig=PLAIN),
    "reseeded": model_spec("reseeded", ludwig=PLAIN),
    "history": model_spec("history", features=HISTORY, ludwig=GRU),
    "close": model_spec("close", target="close", ludwig=PLAIN),
    # its optimised graph holds constants computed from the weights: the unoptimised one is to be kept
    "normed": model_spec("normed", ludwig={**PLAIN, "combiner": {**CONCAT, "norm": "batch"}}),
}
BAD = {
    "misspelt": {**PLAIN, "trainer": {**TRAINER, "learning_rat": 0.1}},
    "dropped": {**PLAIN, "combiner": {**CONCAT, "num_layers": 2}},
    "mismatched": {**PLAIN, "combiner": {"type": "sequence"}},
    "not-installed": {**PLAIN, "combiner": {"type": "tabpfn_v2"}},
    "not-exportable": {**PLAIN, "input_features": [{"name": "return_1", "encoder": {"type": "bins"}}]},
    "exploding": {**PLAIN, "trainer": {**TRAINER, "learning_rate": 1e30}},
    "diverging": {**PLAIN, "trainer": {**TRAINER, "learning_rate": 1e8}},
    "unvalidated": {**PLAIN, "trainer": {**TRAINER, "skip_all_evaluation": True}},
}
LAST = model_spec("last", ludwig=PLAIN)

# A second training process that also says what Ludwig's own load and predict make of the models of the first.
SECOND = """
import json, logging, sys
from pathlib import Path

from mlops_cli.training.local.ludwig_worker import serve

def load():
    from dataclasses import replace
    import pandas as pd
    from ludwig.api import LudwigModel
    from mlops_cli.training.engine.fit import prepare_process
    from mlops_cli.training.engine.work import LudwigWork

    prepare_process()
    work = LudwigWork(Path(sys.argv[-3]))

    def fit(task, tick):
        forecasts = {}
        for name, (folder, rows) in json.loads(Path(sys.argv[1]).read_text()).items():
            model = LudwigModel.load(folder, logging_level=logging.ERROR, backend="local")
            predicted, _ = model.predict(dataset=pd.read_parquet(rows), skip_save_predictions=True)
            forecasts[name] = [float(value) for value in predicted["target_predictions"]]
        for fitted in work.fit(task, tick):
            yield replace(fitted, facts=fitted.facts | {"forecasts": forecasts})

    return fit

serve(load)
"""


@dataclass
class Trained:
    """Everything of two runs of two worker processes over one folder of graphs, and Ludwig's own forecasts."""

    jobs: dict[str, TrainJob]
    results: dict[str, Fitted | FailedJob]
    graphs_after_one: dict[str, float]
    graphs_after_two: dict[str, float]
    repeated: Path
    ludwig: dict[str, list[float]]

    def folder(self, name: str) -> Path:
        return self.jobs[name].folder

    def graph(self, name: str) -> bytes:
        return (self.folder(name) / "model.onnx").read_bytes()

    def constants(self, name: str) -> dict[str, np.ndarray]:
        graph = onnx.load_from_string(self.graph(name)).graph
        return {one.name: numpy_helper.to_array(one) for one in graph.initializer}

    def failure(self, name: str) -> str:
        result = self.results[name]
        assert isinstance(result, FailedJob)
        return result.reason


def all_jobs(folder: Path) -> dict[str, TrainJob]:
    prices = {"neighbour": 1, "history": 2}
    jobs = {name: make_job(folder, spec, prices=prices.get(name, 0)) for name, spec in GOOD.items()}
    jobs["reseeded"] = replace(jobs["reseeded"], seed=8)
    jobs |= {name: make_job(folder, model_spec(name, ludwig=ludwig)) for name, ludwig in BAD.items()}
    return jobs | {"last": make_job(folder, LAST)}


def graph_files(folder: Path) -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def rows_for_ludwig(job: TrainJob) -> pd.DataFrame:
    """Real rows, those that were held out among them, as Ludwig wants them: a series is a text of numbers."""
    table = pd.read_parquet(job.features).tail(60)
    steps = [name for name in job.inputs if name.startswith("history_")]
    rows = table[[name for name in job.inputs if name not in steps]].astype(np.float32)
    if steps:
        rows["history"] = [" ".join(str(np.float32(value)) for value in row) for row in table[steps].to_numpy()]
    return rows.assign(target=0.0, split=2).reset_index(drop=True)


def second_process(folder: Path, jobs: dict[str, TrainJob]) -> list[str]:
    """The command that starts it, with its questions in a file."""
    questions = {}
    for name in GOOD:
        rows = folder / f"{name}.rows"
        rows_for_ludwig(jobs[name]).to_parquet(rows)
        questions[name] = (str(jobs[name].folder / "ludwig"), str(rows))
    (folder / "questions.json").write_text(json.dumps(questions))
    return [sys.executable, "-c", SECOND, str(folder / "questions.json")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("ludwig")
    jobs, graphs = all_jobs(folder), folder / "graphs"
    results = list(LudwigTrainer(WorkerSettings(graphs, folder / "one")).fit(list(jobs.values()), lambda _: None))
    after_one = graph_files(graphs)
    again = same_job(jobs["history"], "history-again")
    trainer = LudwigTrainer(WorkerSettings(graphs, folder / "two", command=second_process(folder, jobs)))
    (repeated,) = trainer.fit([again], lambda _: None)
    assert isinstance(repeated, Fitted), repeated
    return Trained(
        jobs=jobs,
        results={result.job.spec.name: result for result in results},
        graphs_after_one=after_one,
        graphs_after_two=graph_files(graphs),
        repeated=again.folder,
        ludwig=repeated.facts["forecasts"],
    )


@pytest.mark.parametrize("name", [*GOOD, "last"])
def test_good_configs_are_trained(trained: Trained, name: str):
    result = trained.results[name]
    assert isinstance(result, Fitted), result
    assert len(result.epochs) == 3
    assert all(np.isfinite([epoch["train_loss"], epoch["validation_loss"]]).all() for epoch in result.epochs)
    assert 1 <= result.facts["best_epoch"] <= 3
    assert result.facts["parameters"] > 0
    assert result.facts["onnx_difference"] <= 1e-5


def test_every_job_has_its_result(trained: Trained):
    assert set(trained.results) == set(trained.jobs)


def test_what_can_trains_in_a_fleet_and_what_cannot_says_why(trained: Trained):
    facts = {name: trained.results[name].facts for name in GOOD}
    assert {name for name in GOOD if facts[name]["strategy"] == "sequential"} == {"history", "normed"}
    assert facts["normed"]["not_in_fleet"] == "a layer keeps running statistics"
    assert facts["history"]["not_in_fleet"].startswith("an operation has no stacked form")


@pytest.mark.parametrize(
    ("name", "exit_code", "words"),
    [
        (
            "misspelt",
            3,
            "configs/misspelt.yaml: Ludwig refuses the config: ludwig.trainer: unknown key learning_rat "
            "(did you mean learning_rate?)",
        ),
        ("dropped", 3, "Ludwig knows no ludwig.combiner.num_layers (did you mean num_fc_layers?)"),
        ("mismatched", 5, "mismatched: training failed: "),
        ("not-installed", 5, "requires the optional 'tabpfn' package"),
        ("not-exportable", 5, "not-exportable: this architecture cannot be exported: No ONNX function found for "),
        ("exploding", 5, "exploding: its weights are not a number. lower trainer.learning_rate"),
        ("diverging", 5, "diverging: training diverged, it forecasts log returns of "),
        ("unvalidated", 5, "unvalidated: training gave no validation loss\nleave trainer.skip_all_evaluation out"),
    ],
)
def test_bad_configs_fail_with_their_reason(trained: Trained, name: str, exit_code: int, words: str):
    assert words in trained.failure(name)
    assert trained.results[name].exit_code == exit_code


def test_no_failure_killed_the_process(trained: Trained):
    assert not any("died" in trained.failure(name) for name in BAD)


@pytest.mark.parametrize("name", GOOD)
def test_the_graph_says_what_ludwig_says(trained: Trained, name: str):
    job = trained.jobs[name]
    table = pd.read_parquet(job.features).tail(60)
    session = start_session(trained.graph(name))
    (ours,) = session.run([RAW_OUTPUT], {INPUT: table[list(job.inputs)].to_numpy(np.float32)})
    ludwigs = np.array(trained.ludwig[name])
    if job.spec.target == "close":
        ludwigs = np.log(ludwigs / table["last_close"].to_numpy())
    assert len(ludwigs) == 60
    np.testing.assert_allclose(ours, ludwigs, atol=1e-5, rtol=0)
    assert np.ptp(ludwigs) > 1e-4, "a constant forecast would agree with anything"


@pytest.mark.parametrize("name", GOOD)
def test_base_and_intervals_fit_the_graph(trained: Trained, name: str, tmp_path: Path):
    job = trained.jobs[name]
    rows = pd.read_parquet(job.features)[list(job.inputs)].tail(60).to_numpy(np.float32)
    check_wrapped(job.folder / "model.onnx", rows, tmp_path)


def test_models_of_one_architecture_share_an_exported_graph(trained: Trained):
    # numbers, neighbour, reseeded and last are one; history, close and normed are one each
    assert len(trained.graphs_after_one) == 4
    one, two = trained.constants("numbers"), trained.constants("neighbour")
    assert one.keys() == two.keys()
    assert [value.shape for value in one.values()] == [value.shape for value in two.values()]
    weights = [name for name, value in one.items() if value.size > 1]
    assert not any(np.array_equal(one[name], two[name]) for name in weights)


def test_the_exported_graphs_are_kept_for_the_next_process(trained: Trained):
    assert trained.graphs_after_two == trained.graphs_after_one


def test_the_same_seed_gives_the_same_files_in_another_process(trained: Trained):
    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert contents(trained.repeated) == contents(trained.folder("history"))


def test_another_seed_gives_another_model(trained: Trained):
    assert trained.graph("last") == trained.graph("numbers")
    assert trained.graph("reseeded") != trained.graph("numbers")


def test_shrinkage_is_left_at_one(trained: Trained):
    assert all(trained.constants(name)[SHRINKAGE] == 1.0 for name in GOOD)


@pytest.mark.parametrize("name", GOOD)
def test_a_folder_holds_the_graph_and_ludwigs_three_files(trained: Trained, name: str):
    folder = trained.folder(name)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "ludwig/model_hyperparameters.json",
        "ludwig/model_weights.safetensors",
        "ludwig/training_set_metadata.json",
        "model.onnx",
    ]


def test_nothing_is_pickled(trained: Trained):
    files = [path for name in GOOD for path in trained.folder(name).rglob("*") if path.is_file()]
    for path in files:
        beginning = path.read_bytes()[:9]
        # protocols 2 to 5, and torch's zip of pickles
        assert not beginning.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK")), path
        match path.suffix:
            case ".json":
                json.loads(path.read_text())
            case ".safetensors":
                assert beginning[8:] == b"{"
            case _:
                onnx.checker.check_model(onnx.load(path))


def test_no_file_names_the_machine(trained: Trained):
    """Paths in a file would make equal models differ from one checkout to the next."""
    for name in GOOD:
        for path in trained.folder(name).rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                for secret in (str(REPOSITORY), str(trained.folder(name).parent), sys.prefix):
                    assert secret.encode() not in data, f"{path.name} of {name} holds {secret}"
