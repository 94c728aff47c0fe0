"""What a stranger does wrong, and what a machine does to them: exit code, where, what next; nothing half written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.cli import Cli, Tree, new_project
from tests.fakes.price_tables import random_prices

pytestmark = pytest.mark.slow

TICKERS = ("AAA", "BBB", "CCC")
MODELS = "team: base\ntickers: [AAA, BBB, CCC]\ntrainer: drift\n"
CLOSED_PORT = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad-input")


@pytest.fixture(scope="module")
def fresh(home: Path) -> Cli:
    """A project as it stands before anything was run in it. Not to be changed: copy it."""
    tables = {ticker: random_prices(700, seed) for seed, ticker in enumerate(TICKERS)}
    return new_project(home / "fresh", tables, {"mine/base.yaml": MODELS}, {"main": "{collection: [configs/mine]}"})


@pytest.fixture(scope="module", autouse=True)
def yahoo(fresh: Cli) -> Iterator[Tree]:
    """An `ingest` that asks a Yahoo which is not there: most of its time it waits, while the other tests run."""
    cli = fresh.copy(fresh.root.parent / "yahoo")
    cli.write("params.yaml", (cli.root / "params.yaml").read_text().replace("kind: csv", "kind: yfinance"))
    with cli.start("mlops", "ingest", YAHOO_BASE_URL=CLOSED_PORT) as tree:
        yield tree


@pytest.fixture(scope="module")
def trained(fresh: Cli) -> Cli:
    """The project with its models trained, without DVC. Not to be changed: copy it."""
    cli = fresh.copy(fresh.root.parent / "trained")
    for stage in ("ingest", "featurize", "train"):
        done = cli.mlops(stage)
        assert done.returncode == 0, done.stderr
    return cli


def refused(cli: Cli, done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It ended with this code, said these words on stderr, and left nothing unfinished."""
    assert done.returncode == code, done.stderr
    missing = [word for word in words if word not in done.stderr]
    assert not missing, done.stderr
    assert "Traceback" not in done.stderr
    assert not [name for name in cli.contents() if name.endswith((".tmp", ".part"))]


def in_file(name: str, old: str, new: str) -> Callable[[Cli], None]:
    def change(cli: Cli) -> None:
        text = (cli.root / name).read_text()
        assert old in text
        cli.write(name, text.replace(old, new))

    return change


def without(name: str) -> Callable[[Cli], None]:
    def change(cli: Cli) -> None:
        path = cli.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


MODEL_FILE = "configs/mine/base.yaml"
MISTAKES = {
    "model key": (in_file(MODEL_FILE, "tickers", "tickrs"), (MODEL_FILE, "tickrs: unknown key, did you mean tickers")),
    "model value": (in_file(MODEL_FILE, "drift", "drfit"), (MODEL_FILE, "trainer: expected", "'drfit'")),
    "params key": (
        in_file("params.yaml", "validation_sessions", "validation_session"),
        ("params.yaml: training.validation_session: unknown key, did you mean validation_sessions",),
    ),
    "scenario key": (in_file("simulation/mine.yaml", "days", "day"), ("simulation/mine.yaml: day: unknown key",)),
    "scenario name": (
        in_file("params.yaml", "scenario: mine", "scenario: mein"),
        ("simulation/mein.yaml: no such scenario, did you mean mine",),
    ),
    "period": (
        in_file("params.yaml", "start: null, end: null", 'start: "2018-01-02", end: "2017-01-02"'),
        ("params.yaml: period: start 2018-01-02 is after end 2017-01-02",),
    ),
    "no branches": (
        in_file("params.yaml", "\n  main: {collection: [configs/mine]}", " {}"),
        ("there is none", "--set"),
    ),
    "no yaml": (lambda cli: cli.write(MODEL_FILE, "team: [base"), (f"{MODEL_FILE}: line 2, column 1:",)),
    "no models": (without("configs/mine"), ("branches.main.collection", "contains no model file")),
    "no dvc.yaml": (without("dvc.yaml"), ("dvc.yaml is missing", "mlops init")),
    "no .dvc": (without(".dvc"), (".dvc is missing", "dvc init")),
    "no project": (without("params.yaml"), ("is not an mlops project", "mlops init DIR")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_the_files_stop_a_run_before_it_begins(fresh: Cli, tmp_path: Path, mistake: str) -> None:
    change, words = MISTAKES[mistake]
    cli = fresh.copy(tmp_path / "p")
    change(cli)
    before = cli.contents()
    refused(cli, cli.mlops("run"), 3, *words)
    assert cli.contents() == before
    assert not (cli.root / "dvc.lock").exists()


def test_each_bad_ticker_is_named_and_the_good_ones_are_kept(fresh: Cli, tmp_path: Path) -> None:
    cli = fresh.copy(tmp_path / "p")
    cli.write(MODEL_FILE, "team: base\ntickers: [AAA, GONE, EMPTY, HTML, WORD, TWICE]\ntrainer: drift\n")
    good = (cli.root / "data/incoming/AAA.csv").read_text()
    lines = good.splitlines()
    cli.write("data/incoming/EMPTY.csv", "")
    cli.write("data/incoming/HTML.csv", "<!DOCTYPE html>\n<html><body>Please log in</body></html>\n")
    cli.write("data/incoming/WORD.csv", good.replace(lines[3], lines[3].rpartition(",")[0] + ",many"))
    cli.write("data/incoming/TWICE.csv", good)
    cli.write("data/incoming/twice.CSV", good)
    done = cli.mlops("ingest", "--json")
    refused(cli, done, 9)
    (report,) = json.loads(done.stdout)
    assert report["done"] == ["base-aaa"]
    reasons = {failure["model"]: failure["reason"] for failure in report["failures"]}
    assert "GONE: no GONE.csv" in reasons["base-gone"]
    assert "EMPTY.csv: the file is empty" in reasons["base-empty"]
    assert "HTML.csv: row 1: this is a web page" in reasons["base-html"]
    day = lines[3].partition(",")[0]
    assert f"WORD.csv:{day}: volume 'many' is not a number" in reasons["base-word"]
    assert "TWICE.csv and twice.CSV" in reasons["base-twice"]
    assert {failure["exit_code"] for failure in report["failures"]} == {4}
    assert sorted(path.name for path in (cli.root / "data/prices/main").glob("*.parquet")) == ["AAA.parquet"]
    refused(cli, cli.mlops("ingest", "--only", "base-gone"), 4, "GONE: no GONE.csv")
    refused(cli, cli.mlops("ingest", "--only", "base-gnoe"), 3, "--only base-gnoe: no model of that name")


def test_a_period_without_sessions_leaves_the_prices_as_they_were(trained: Cli, tmp_path: Path) -> None:
    cli = trained.copy(tmp_path / "p")
    before = cli.contents()
    done = cli.mlops("ingest", "--set", "period.start=2017-01-07", "--set", 'period.end="2017-01-08"')
    refused(cli, done, 4, "AAA: no usable session between 2017-01-07 and 2017-01-08", "AAA.csv contains 2015-01-02 to")
    after = cli.contents()
    assert after.pop("data/prices/main/failures.json")
    assert after == before


def test_a_history_too_short_is_refused_with_its_numbers(trained: Cli, tmp_path: Path) -> None:
    cli = trained.copy(tmp_path / "p")
    before = cli.models()
    done = cli.mlops("train", "--set", "training.min_sessions=2000")
    refused(cli, done, 4, "AAA: history too short", "training.min_sessions asks for 2000", "move the scenario's start")
    assert cli.models() == before


def test_wrong_order_says_what_to_run(fresh: Cli, tmp_path: Path) -> None:
    cli = fresh.copy(tmp_path / "p")
    refused(cli, cli.mlops("simulate"), 6, "manifest.json is missing", "run: mlops run")
    refused(cli, cli.mlops("train"), 4, "base-aaa: no features in", "run: mlops featurize")
    refused(cli, cli.mlops("featurize"), 4, "AAA: no prices in", "run: mlops ingest")
    assert not (cli.root / "simulation" / "reports").exists()


def test_a_scenario_that_the_models_have_seen_is_refused(trained: Cli, tmp_path: Path) -> None:
    cli = trained.copy(tmp_path / "p")
    cli.write("simulation/early.yaml", 'start: "2016-06-01"\n')
    refused(cli, cli.mlops("simulate", "early"), 6, "was trained on closes up to 2017-05-31")
    assert not (cli.root / "simulation" / "reports").exists()


def test_damaged_files_are_made_anew_or_named(trained: Cli, tmp_path: Path) -> None:
    cli = trained.copy(tmp_path / "p")
    before, models = cli.contents(), cli.models()
    cli.write("data/prices/main/AAA.parquet", "PAR1 no more")
    cli.write("data/features/main/base-ccc.parquet", "")
    cli.write("models/main/base-aaa/model.onnx", "no graph")
    cli.write("models/main/base-bbb/manifest.json", '{"format": ')
    refused(cli, cli.mlops("ingest"), 0)
    done = cli.mlops("train")
    table = cli.root / "data/features/main/base-ccc.parquet"
    refused(cli, done, 9, f"{table}: damaged", f"remove {table} and run again")
    assert "2 done, 0 unchanged, 1 failed" in done.stdout
    table.unlink()
    refused(cli, cli.mlops("featurize"), 0)
    refused(cli, cli.mlops("train"), 0)
    assert cli.contents() == before
    assert cli.models()["main/base-ccc"] == models["main/base-ccc"], "it was not damaged, and not trained again"


def test_a_model_whose_graph_is_damaged_is_named_by_simulate(trained: Cli, tmp_path: Path) -> None:
    cli = trained.copy(tmp_path / "p")
    cli.write("models/main/base-aaa/model.onnx", "no graph")
    done = cli.mlops("simulate", "--json")
    folder = cli.root / "models/main/base-aaa"
    refused(cli, done, 9, f"{folder / 'model.onnx'}: damaged", f"remove {folder} and run: mlops train")
    assert [entry["model"] for entry in json.loads(done.stdout)["models"]] == ["base-bbb", "base-ccc"]


def test_damaged_notes_beside_the_tables_are_made_anew(trained: Cli, tmp_path: Path) -> None:
    cli = trained.copy(tmp_path / "p")
    before = cli.contents()
    cli.write("data/prices/main/AAA.json", "")
    cli.write("data/features/main/base-bbb.json", '{"fingerprint": ')
    for stage in ("ingest", "featurize", "train"):
        refused(cli, cli.mlops(stage), 0)
    assert cli.contents() == before
    assert cli.json("data/prices/main/AAA.json")["ticker"] == "AAA"


@pytest.fixture(scope="module")
def disk(home: Path) -> Callable[[str, str], list[str]]:
    """Puts a disk of some size in the place of a folder, for one command."""
    mount = 'mount -t tmpfs -o size="$0" small "$1" && shift && exec "$@"'
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "16k", str(home), "true"], check=False).returncode:
        pytest.skip("this system lets no program mount a file system of its own")
    return lambda size, folder: [*unshare, size, folder]


def test_a_full_disk_ends_simulate_with_8(trained: Cli, tmp_path: Path, disk: Callable[[str, str], list[str]]) -> None:
    cli = trained.copy(tmp_path / "p")
    (cli.root / "simulation" / "reports").mkdir()
    done = cli.run([*disk("16k", "simulation/reports"), "mlops", "simulate"])
    refused(cli, done, 8, "No space left on device", "free some space")
    assert cli.contents() == trained.contents()


def test_models_may_lie_on_another_disk(trained: Cli, tmp_path: Path, disk: Callable[[str, str], list[str]]) -> None:
    cli = trained.copy(tmp_path / "p")
    train = "mlops train && cd models/main && sha256sum */model.onnx */manifest.json"
    done = cli.run([*disk("1m", "models"), "sh", "-c", train])
    refused(cli, done, 0)
    summary, *sums = done.stdout.splitlines()
    assert summary == "train main: 3 done, 0 unchanged, 0 failed"
    written = {name: digest for digest, name in (line.split() for line in sums)}
    expected = {
        f"{folder.name}/{file}": hashlib.sha256((folder / file).read_bytes()).hexdigest()
        for folder in (trained.root / "models" / "main").glob("base-*")
        for file in ("model.onnx", "manifest.json")
    }
    assert len(expected) == 6
    assert written == expected, "the same models as on the project's own disk"
    assert cli.contents() == trained.contents(), "the models under the mounted disk were not touched"


def test_a_file_that_cannot_be_written_keeps_the_old_models(trained: Cli, tmp_path: Path) -> None:
    cli = trained.copy(tmp_path / "p")
    done = cli.run(["bash", "-c", 'ulimit -f 1 && exec "$@"', "bash", "mlops", "train", "--set", "seed=8"])
    refused(cli, done, 8, "File too large", "what was finished is kept")
    assert {name: files[1:] for name, files in cli.models().items()} == {n: f[1:] for n, f in trained.models().items()}
    refused(cli, cli.mlops("train"), 0)
    assert cli.json("models/main/base-aaa/manifest.json")["seed"] == 8


def test_a_read_only_folder_is_named(trained: Cli, tmp_path: Path) -> None:
    cli = trained.copy(tmp_path / "p")
    powerless: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everywhere, and setpriv is not installed to make it drop that")
        powerless = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps=-all"]
    reports = cli.root / "simulation" / "reports"
    reports.mkdir()
    for folder in (reports, cli.root):
        folder.chmod(0o555)
    try:
        done = cli.run([*powerless, "mlops", "simulate"])
        refused(cli, done, 8, "Permission denied", str(reports), "correct the permissions")
        done = cli.run([*powerless, "mlops", "train", "--set", "seed=8"])
        refused(cli, done, 8, "Permission denied", "params.yaml")
    finally:
        for folder in (reports, cli.root):
            folder.chmod(0o755)
    assert cli.contents() == trained.contents()


def test_a_tracker_that_is_down_is_named_and_done_without(trained: Cli, tmp_path: Path) -> None:
    cli = trained.copy(tmp_path / "p")
    begun = time.monotonic()
    done = cli.mlops("train", "--set", "seed=8", MLOPS_TRACKING="on", MLFLOW_TRACKING_URI=CLOSED_PORT)
    refused(cli, done, 0, f"MLflow at {CLOSED_PORT}", "going on without it")
    assert "3 done" in done.stdout
    assert time.monotonic() - begun < 60


def test_without_network_yahoo_is_given_up_on(yahoo: Tree) -> None:
    printed, said = yahoo.output()
    assert yahoo.process.returncode == 8
    assert printed == ""
    assert "error: no answer from Yahoo" in said
    assert "use source: csv" in said
    assert "Traceback" not in said
