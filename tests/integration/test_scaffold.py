"""New projects, checked with the real git and the real dvc; the doctor; the commands on a project's configs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.config.load import check_project, load_params, load_scenario
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.doctor import examine, stray_results
from mlops_cli.scaffold.init import Template, start_project, template_files
from tests.fakes.stub_mlops import stub_environment
from tests.fakes.warm_dvc import WarmDvc, warm_dvc

IDENTITY = "[user]\n\tname = Tester\n\temail = tester@example.org\n"


@pytest.fixture(autouse=True)
def git_identity(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp("git") / "config"
    path.write_text(IDENTITY)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    return path


def run(folder: Path, *command: str, **keywords) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **keywords)


def git(folder: Path, *arguments: str) -> str:
    done = run(folder, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def mlops(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# init


@pytest.mark.parametrize("template", list(Template))
def test_a_new_project_is_committed_clean_and_valid(tmp_path, template):
    started = start_project(tmp_path / "new", template)
    root = tmp_path / "new"
    assert started.committed
    assert git(root, "status", "--porcelain", "--ignored") == ""
    assert git(root, "ls-files").splitlines() == sorted(started.files)
    assert git(root, "symbolic-ref", "--short", "HEAD") == "main"
    branches = check_project(Project.at(root))
    counts = {Template.DEMO: {"main": 8}, Template.RED_VS_BLUE: dict.fromkeys(branches, 1), Template.BLANK: {}}
    assert {name: len(branch.models) for name, branch in branches.items()} == counts[template]
    assert {path.name for path in root.iterdir()} >= {"configs", "data", "models", "simulation", "dvc.yaml"}
    for folder in ("configs", "data", "models", "simulation"):
        assert len((root / folder / "README.md").read_text().splitlines()) <= 10


def test_what_the_templates_hold(tmp_path):
    root = tmp_path / "demo"
    start_project(root, Template.DEMO)
    project = Project.at(root)
    branch = check_project(project)["main"]
    assert {model.ticker for model in branch.models} == {"AAPL", "GOOG", "IBM", "MSFT"}
    assert branch.source.kind == "sample"
    assert len({json.dumps(model.ludwig, sort_keys=True) for model in branch.models}) == 2
    scenario = load_scenario(project, branch.scenario)
    assert str(scenario.end) <= "2013-03-01", "the sample prices end there"
    start_project(tmp_path / "versus", Template.RED_VS_BLUE)
    versus = check_project(Project.at(tmp_path / "versus"))
    assert sorted(versus) == sorted(f"{team}-{stock}" for team in ("red", "blue") for stock in ("aapl", "amzn", "sap"))
    assert all(name == branch.models[0].name for name, branch in versus.items())
    assert all(str(branch.period.start) == "1998-01-01" for branch in versus.values())


def test_the_packaged_defaults_are_the_base_yaml_of_a_new_project(tmp_path):
    start_project(tmp_path / "new", Template.DEMO)
    project = Project.at(tmp_path / "new")
    with_base = check_project(project)
    project.base.unlink()
    assert check_project(project) == with_base


def test_the_standard_feature_set_has_twenty_columns(tmp_path):
    from mlops_cli.features.build import input_features

    start_project(tmp_path / "new", Template.DEMO)
    models = {model.name: model for model in check_project(Project.at(tmp_path / "new"))["main"].models}
    assert len(input_features(models["red-aapl"].features, "log_return")) == 20
    assert len(input_features(models["blue-aapl"].features, "log_return")) == 5


def test_files_that_would_be_overwritten_are_listed_and_nothing_is_written(tmp_path):
    (tmp_path / "params.yaml").write_text("mine")
    (tmp_path / "models").write_text("a file where a folder belongs")
    with pytest.raises(ConfigError) as raised:
        start_project(tmp_path, Template.DEMO)
    assert "models/README.md" in raised.value.message
    assert "params.yaml" in raised.value.message
    assert {path.name for path in tmp_path.iterdir()} == {"params.yaml", "models"}
    with pytest.raises(ConfigError, match="is a file"):
        start_project(tmp_path / "models", Template.DEMO)


def test_files_that_are_in_nobodys_way_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert start_project(tmp_path, Template.BLANK).committed
    assert git(tmp_path, "status", "--porcelain") == "?? notes.txt"


def test_an_existing_repository_is_left_to_its_owner(tmp_path):
    git(tmp_path, "init", "-q")
    started = start_project(tmp_path, Template.BLANK)
    assert not started.committed
    assert "git add" in started.remark
    assert git(tmp_path, "ls-files") == ""


def test_inside_another_repository_it_becomes_one_of_its_own(tmp_path):
    git(tmp_path, "init", "-q")
    assert start_project(tmp_path / "inner", Template.BLANK).committed
    assert git(tmp_path / "inner", "rev-parse", "--show-toplevel") == str((tmp_path / "inner").resolve())
    assert git(tmp_path, "ls-files") == ""


def test_without_a_git_identity_the_files_are_staged(tmp_path, git_identity):
    git_identity.write_text("[user]\n\tuseConfigOnly = true\n")
    started = start_project(tmp_path / "new", Template.BLANK)
    assert not started.committed
    assert "staged but not committed" in started.remark
    assert len(git(tmp_path / "new", "ls-files").splitlines()) == len(started.files)


def test_a_git_hooks_environment_does_not_lead_astray(tmp_path, monkeypatch):
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))
    assert start_project(tmp_path / "new", Template.BLANK).committed
    monkeypatch.delenv("GIT_DIR")
    assert run(outer, "git", "log").returncode != 0
    assert git(tmp_path / "new", "log", "--format=%s") == "Start from mlops template blank"


def test_without_git_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="git is not installed"):
        start_project(tmp_path / "new", Template.DEMO)
    assert not (tmp_path / "new").exists()


def test_init_prints_what_to_type_next(tmp_path):
    done = mlops("init", tmp_path / "new")
    assert (done.exit_code, done.stdout) == (0, f"cd {tmp_path / 'new'}\nmlops run\n")
    done = mlops("init", tmp_path / "empty", "--template", "blank")
    assert done.stdout.splitlines()[1:] == ["mlops models add AAPL --team red", "mlops run"]
    assert mlops("init", tmp_path / "new").exit_code == 3
    assert mlops("init", tmp_path / "x", "--template", "pink").exit_code == 2


# the pipeline, with the real dvc


@pytest.fixture
def piped(tmp_path):
    """A demo project and an environment with a stand-in for mlops."""
    start_project(tmp_path / "new", Template.DEMO)
    return tmp_path / "new", stub_environment(tmp_path / "bin")


@pytest.fixture(scope="module")
def dvc() -> Iterator[WarmDvc]:
    with warm_dvc() as running:
        yield running


def in_order(log: Path) -> list[str]:
    """The stages that ran; of those that do not wait for each other, evaluate first and serve last."""
    last = ("evaluate", "simulate", "serve")
    return sorted(
        log.read_text().splitlines(), key=lambda line: last.index(line.split()[0]) if line.split()[0] in last else -1
    )


@pytest.mark.slow
def test_dvc_runs_every_stage_once_and_leaves_git_clean(piped, dvc):
    root, environment = piped
    done = dvc(root, environment, "repro")
    assert done.returncode == 0, done.stderr
    log = Path(environment["STUB_LOG"])
    stages = ["ingest main", "featurize main", "train main", "evaluate main", "simulate ", "serve "]
    assert in_order(log) == stages
    assert git(root, "status", "--porcelain") == "?? dvc.lock"
    assert [path.parent.name for path in root.rglob(".gitignore") if ".git" not in path.parts] == ["new", ".dvc"]
    assert "up to date" in dvc(root, environment, "status").stdout
    shown = dvc(root, environment, "metrics", "show", "--json").stdout
    files = json.loads(shown)[""]["data"]
    assert sorted(str(Path(file).parent) for file in files) == ["simulation/evaluation/main", "simulation/reports/demo"]
    assert all("mae" in file["data"] for file in files.values())
    # a new price file is noticed; what comes of the same prices is not made again
    (root / "data" / "incoming" / "NEW.csv").write_text("date,close\n")
    assert dvc(root, environment, "repro").returncode == 0
    assert log.read_text().splitlines()[6:] == ["ingest main"]
    # results come back from the cache
    shutil.rmtree(root / "models" / "main")
    assert dvc(root, environment, "checkout").returncode == 0
    assert (root / "models" / "main" / "m" / "weights").is_file()


@pytest.mark.slow
def test_dvc_runs_again_what_a_change_concerns(piped, dvc):
    root, environment = piped
    assert dvc(root, environment, "repro").returncode == 0
    log = Path(environment["STUB_LOG"])
    log.unlink()
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("shrinkage: pooled", "shrinkage: 0.5"))
    assert dvc(root, environment, "repro").returncode == 0
    assert in_order(log) == ["train main", "evaluate main", "simulate ", "serve "]
    assert (root / "models" / "main" / "m" / "begun").is_file(), "persist: true keeps what was there"
    log.unlink()
    params.write_text(params.read_text().replace("  main:", "  renamed:"))
    assert dvc(root, environment, "repro").returncode == 0
    assert in_order(log) == [
        "ingest renamed",
        "featurize renamed",
        "train renamed",
        "evaluate renamed",
        "simulate ",
        "serve ",
    ]
    (root / "models" / ".versions" / "main").mkdir(parents=True)
    assert [path.name for path in stray_results(Project.at(root), ["renamed"])] == ["main"] * 5


@pytest.mark.slow
def test_dvc_of_a_blank_project_runs(tmp_path, dvc):
    start_project(tmp_path / "new", Template.BLANK)
    environment = stub_environment(tmp_path / "bin")
    done = dvc(tmp_path / "new", environment, "repro")
    assert done.returncode == 0, done.stderr
    assert in_order(Path(environment["STUB_LOG"])) == ["simulate ", "serve "]


@pytest.mark.slow
def test_dvc_goes_on_after_being_killed(piped, tmp_path, dvc):
    root, environment = piped
    hung = tmp_path / "hung"
    process = subprocess.Popen(
        ["dvc", "repro"], cwd=root, env={**environment, "STUB_HANG": str(hung)}, stdout=subprocess.DEVNULL, text=True
    )
    until = time.monotonic() + 120
    while not (hung.is_file() and hung.read_text().strip()):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    os.kill(int(hung.read_text()), signal.SIGKILL)
    assert (root / ".dvc" / "tmp" / "rwlock").is_file(), "the killed process left its lock"
    done = dvc(root, environment, "repro")
    assert done.returncode == 0, done.stderr
    log = in_order(Path(environment["STUB_LOG"]))
    assert log == ["ingest main", "featurize main", "train main", "train main", "evaluate main", "simulate ", "serve "]
    assert (root / "models" / "main" / "m" / "weights").is_file()


# doctor


def found(folder: Path) -> dict[str, tuple[str, str]]:
    return {check.name: (check.status, check.found) for check in examine(folder)}


def test_the_doctor_outside_of_a_project(tmp_path):
    checks = found(tmp_path)
    assert checks["python"][0] == "ok"
    assert checks["project"][0] == "warning"
    assert "ludwig" in checks["packages"][1]
    assert "configs" not in checks
    assert mlops("doctor", "--project", tmp_path).exit_code == 0


def test_the_doctor_in_a_project(tmp_path):
    start_project(tmp_path / "new", Template.DEMO)
    root = tmp_path / "new"
    (root / ".env").write_text("ALPACA_API_KEY=s3cret\n")
    checks = found(root)
    assert checks["pipeline"] == ("ok", "dvc.yaml")
    assert checks["configs"] == ("ok", "branches: 1, models: 8")
    assert checks["settings"] == ("warning", "ALPACA_API_KEY set, ALPACA_SECRET_KEY not set")
    assert checks["prices main"] == ("warning", "none yet")
    (root / ".env").write_text("ALPACA_API_KEY_RED=s3cret\nALPACA_SECRET_KEY_RED=s3cret\n")
    assert found(root)["settings"] == ("ok", "ALPACA_API_KEY_RED set, ALPACA_SECRET_KEY_RED set")
    assert "s3cret" not in mlops("doctor", "--project", root).stdout
    prices = root / "data" / "prices" / "main"
    prices.mkdir()
    (root / "models" / "gone").mkdir()
    note = {"last": "2024-05-03T00:00:00", "fetched_at": "2024-05-04T01:02:03+00:00"}
    (prices / "AAPL.json").write_text(json.dumps(note))
    (prices / "failures.json").write_text("[]")
    checks = found(root)
    assert checks["prices main"][0] == "ok", "sample prices do not grow old"
    assert checks["prices main"][1].startswith("1 tickers up to 2024-05-03, fetched ")
    assert checks["results"] == ("warning", "without a branch in params.yaml: models/gone")
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("kind: sample", "kind: yfinance"))
    assert found(root)["prices main"][0] == "warning"


def test_the_doctor_finds_what_must_be_mended(tmp_path):
    start_project(tmp_path / "new", Template.DEMO)
    root = tmp_path / "new"
    (root / "configs" / "demo" / "red.yaml").write_text("teem: red\n")
    (root / ".env").write_text("MLOPS_TRACKING=perhaps\n")
    (root / "dvc.yaml").unlink()
    done = mlops("doctor", "--project", root, "--json")
    assert done.exit_code == 10
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert "teem: unknown key, did you mean team?" in checks["configs"]["found"]
    assert [name for name, check in checks.items() if check["status"] == "failed"] == [
        "pipeline",
        "configs",
        "settings",
    ]
    assert all(check["hint"] for check in checks.values() if check["status"] == "failed")


def test_the_doctor_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from mlops_cli.cli.app import app; app(['doctor'], standalone_mode=False);"
        "sys.exit(str([m for m in ('torch', 'ludwig', 'mlflow', 'pandas', 'numpy', 'dvc') if m in sys.modules]))"
    )
    done = run(tmp_path, sys.executable, "-c", code)
    assert done.stderr.strip().splitlines()[-1] == "[]"


# the commands on a project's configs


@pytest.fixture
def demo(tmp_path, monkeypatch):
    start_project(tmp_path / "new", Template.DEMO)
    monkeypatch.chdir(tmp_path / "new")
    return tmp_path / "new"


def test_config_check(demo):
    assert "1 branch, 8 models, no mistakes" in mlops("config", "check").stdout
    done = mlops("config", "check", "--json", "--set", "branches.many.collection=configs/many")
    assert list(map(len, json.loads(done.stdout)["branches"].values())) == [8, 100]
    assert done.stderr == "params.yaml: branches.many.collection: nothing -> configs/many\n"
    (demo / "configs" / "demo" / "red.yaml").write_text("teem: red\n")
    done = mlops("config", "check")
    assert done.exit_code == 3
    assert "configs/demo/red.yaml: teem: unknown key, did you mean team?" in done.stderr


def test_outside_of_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (("config", "check"), ("models", "list"), ("branch", "list")):
        done = mlops(*command)
        assert done.exit_code == 3
        assert "mlops init" in done.stderr


def test_config_schema(demo):
    text = mlops("config", "schema", "params").stdout
    assert "branches.<name>.collection" in text
    assert "configs/base.yaml" not in text
    assert "simulation/<name>.yaml" in mlops("config", "schema").stdout
    schemas = json.loads(mlops("config", "schema", "--json").stdout)
    assert set(schemas) == {"model", "base", "params", "scenario"}
    assert schemas["model"]["additionalProperties"] is False
    assert json.loads(mlops("config", "schema", "scenario", "--json").stdout) == schemas["scenario"]


def test_models_list_and_show(demo):
    folder = demo / "models" / "main" / "red-ibm"
    folder.mkdir(parents=True)
    manifest = {
        "trained_until": "2012-09-03",
        "shrinkage": 0.25,
        "validation": {"mae_ratio": 0.99987},
        "fingerprint": "f",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    listed = {model["name"]: model for model in json.loads(mlops("models", "list", "--json").stdout)}
    assert len(listed) == 8
    assert listed["red-ibm"]["trained_until"] == "2012-09-03"
    assert listed["red-ibm"]["folder"] == "models/main/red-ibm"
    assert listed["red-aapl"]["trained_until"] is None
    done = mlops("models", "list", "--only", "red-i*")
    assert "red-ibm" in done.stdout
    assert "0.9999" in done.stdout
    assert "red-aapl" not in done.stdout
    (shown,) = json.loads(mlops("models", "show", "red-ibm", "--json").stdout)
    assert shown["manifest"] == manifest
    assert shown["config"]["ludwig"]["trainer"]["epochs"] == 20
    assert "epochs: 20" in mlops("models", "show", "blue-ibm").stdout
    done = mlops("models", "show", "red-imb")
    assert (done.exit_code, "did you mean red-ibm?" in done.stderr) == (3, True)
    (folder / "manifest.json").write_text("{")
    assert mlops("models", "list").exit_code == 6


def test_models_add(demo):
    done = mlops("models", "add", "fb", "--team", "red")
    assert (done.exit_code, done.stdout) == (0, "mlops run\n")
    assert done.stderr == "configs/demo/red.yaml: FB added\n"
    assert mlops("models", "add", "fb").exit_code == 2
    done = mlops("models", "add", "IBM", "--team", "green", "--folder", "configs/mine")
    assert "configs/mine/green.yaml" in load_params(Project.at(demo)).branches["main"].collection


def test_a_piped_table_breaks_no_row(demo):
    long = "configs/" + "x" * 150
    Path(long).mkdir()
    (Path(long) / "a.yaml").write_text(f"team: {'t' * 40}\nticker: ABCDEFGHIJKLMNOPQRST\n")
    assert mlops("config", "check", "--set", f"branches.{'b' * 60}.collection={long}").exit_code == 0
    (row,) = [line for line in mlops("models", "list").stdout.splitlines() if "abcdefghij" in line]
    assert "b" * 60 in row
    assert "ABCDEFGHIJKLMNOPQRST" in row


def test_every_template_file_is_plain_text_with_a_last_newline():
    for template in Template:
        for name, text in template_files(template).items():
            assert text.endswith("\n"), name
            assert "\t" not in text, name
            assert "dot-" not in name
