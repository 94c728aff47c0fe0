"""`mlops models list`, `show` and `add` on a project with trained, unfinished and damaged models."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import yaml

from mlops_cli.config.load import load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.requested import store_requested
from mlops_cli.live.jobs.job_requests import requested_models
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.versions import Champion, archive, write_champion
from tests.fakes.model_folders import model_folder
from tests.fakes.team_project import ALL, commands_on, team_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return team_project(tmp_path)


@pytest.fixture
def mlops(project: Project) -> Callable:
    return commands_on(project)


def trained(project: Project, name: str = "red-aaa", **changes: object) -> str:
    """Put a trained model into its folder; its version."""
    return read_manifest(model_folder(project.models("main"), name, **changes)).version


def judged(project: Project, model: str, version: str, verdict: str, base_verdict: str | None = None) -> None:
    folder = project.evaluation("main")
    folder.mkdir(parents=True)
    row = {"model": model, "version": version, "verdict": verdict, "base_verdict": base_verdict}
    (folder / "models.json").write_text(json.dumps([row]))


def test_before_any_training_every_model_is_listed_as_untrained(mlops: Callable) -> None:
    done = mlops("models", "list")
    rows = [line.split()[0] for line in done.stdout.splitlines() if "-" in line]
    assert rows == list(ALL)
    assert done.stderr == "4 of 4 not trained yet: mlops run\n"


def test_what_the_list_says_of_a_trained_model(project: Project, mlops: Callable) -> None:
    version = trained(project, shrinkage=0.25, trained_until=date(2016, 1, 4))
    judged(project, "red-aaa", version, "skill not shown")
    done = mlops("models", "list", "--json")
    first = json.loads(done.stdout)[0]
    assert first == {
        "name": "red-aaa",
        "branch": "main",
        "team": "red",
        "ticker": "AAA",
        "trainer": "drift",
        "file": "configs/red/models.yaml",
        "folder": "models/main/red-aaa",
        "trained_until": "2016-01-04",
        "shrinkage": 0.25,
        "mae_ratio": 0.999,
        "verdict": "skill not shown",
        "base_verdict": None,
        "fingerprint": "f" * 64,
    }
    assert done.stderr == ""


def test_the_table_rounds_and_marks_what_is_unknown(project: Project, mlops: Callable) -> None:
    trained(project, shrinkage=0.123456)
    rows = {line.split()[0]: line.split() for line in mlops("models", "list").stdout.splitlines() if line.strip()}
    assert rows["red-aaa"][-4:] == ["0.1235", "0.999", "-", "-"]
    assert rows["red-bbb"][-5:] == ["-", "-", "-", "-", "-"]


def test_a_verdict_on_another_version_is_not_shown(project: Project, mlops: Callable) -> None:
    trained(project)
    judged(project, "red-aaa", "another", "skill")
    assert json.loads(mlops("models", "list", "--json").stdout)[0]["verdict"] is None


def test_a_list_of_some(project: Project, mlops: Callable) -> None:
    listed = json.loads(mlops("models", "list", "--only", "blue-*", "--json").stdout)
    assert [model["name"] for model in listed] == ["blue-aaa", "blue-bbb"]
    assert [model["team"] for model in listed] == ["blue", "blue"]


@pytest.mark.parametrize("output", [[], ["--json"]])
def test_a_glob_without_a_match_says_which_names_there_are(mlops: Callable, output: list[str]) -> None:
    done = mlops("models", "list", "--only", "green-*", *output)
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == (f"error: --only green-*: no model of that name\nhint: models: {', '.join(ALL)}\n")


def test_the_stages_say_the_same(mlops: Callable) -> None:
    listed, stage = mlops("models", "list", "--only", "x"), mlops("ingest", "--only", "x")
    assert (stage.exit_code, stage.stderr) == (listed.exit_code, listed.stderr)


def test_an_unfinished_model_is_shown_as_far_as_it_goes(project: Project, mlops: Callable) -> None:
    folder = project.models("main") / "red-aaa"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"trained_until": "2016-01-04"}')
    first = json.loads(mlops("models", "list", "--json").stdout)[0]
    assert (first["trained_until"], first["shrinkage"], first["mae_ratio"]) == ("2016-01-04", None, None)


@pytest.mark.parametrize("words", [("list",), ("show", "red-aaa")])
def test_a_damaged_manifest_is_named(project: Project, mlops: Callable, words: tuple[str, ...]) -> None:
    folder = project.models("main") / "red-aaa"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{")
    done = mlops("models", *words)
    assert done.exit_code == 6
    assert f"{folder / 'manifest.json'}: no JSON" in done.stderr
    assert f"remove {folder} and run: mlops train" in done.stderr


def test_show_of_an_untrained_model(mlops: Callable) -> None:
    (shown,) = json.loads(mlops("models", "show", "blue-bbb", "--json").stdout)
    assert shown["config"]["ticker"] == "BBB"
    assert shown["config"]["ludwig"], "defaults are filled in"
    assert (shown["manifest"], shown["verdict"], shown["versions"]) == (None, None, [])
    assert shown["champion"] == {"version": None, "pinned": False, "history": [], "by": None, "why": ""}


def test_show_of_a_trained_model_with_a_champion(project: Project, mlops: Callable) -> None:
    version = trained(project)
    write_champion(project.model_root, "main", "red-aaa", Champion(version, pinned=True, history=("old",)))
    judged(project, "red-aaa", version, "skill", "adds nothing to the base")
    (shown,) = json.loads(mlops("models", "show", "red-aaa", "--json").stdout)
    assert shown["versions"] == [{"version": version, "trained_until": "2015-12-31", "live": False}]
    assert shown["champion"] == {"version": version, "pinned": True, "history": ["old"], "by": None, "why": ""}
    assert (shown["verdict"], shown["base_verdict"]) == ("skill", "adds nothing to the base")
    assert shown["manifest"]["fingerprint"] == "f" * 64


def test_show_prints_yaml_for_people(mlops: Callable, project: Project) -> None:
    trained(project)
    shown = list(yaml.safe_load_all(mlops("models", "show", "red-aaa").stdout))
    assert [one["branch"] for one in shown] == ["main"]
    assert shown == json.loads(mlops("models", "show", "red-aaa", "--json").stdout)


def test_a_damaged_record_of_the_champion_is_named(project: Project, mlops: Callable) -> None:
    trained(project)
    path = project.model_root / ".versions" / "main" / "red-aaa" / "champion.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    done = mlops("models", "show", "red-aaa")
    assert (done.exit_code, f"{path}: damaged" in done.stderr) == (6, True)
    assert mlops("models", "list").exit_code == 0, "the list goes on without the verdict"


def test_add_prints_what_changed_and_what_to_type_next(project: Project, mlops: Callable) -> None:
    done = mlops("models", "add", "ccc", "DDD", "--team", "red", "--folder", "configs/red")
    assert (done.exit_code, done.stdout) == (0, "mlops run\n")
    assert "configs/red" in done.stderr
    listed = json.loads(mlops("models", "list", "--json").stdout)
    assert {"red-ccc", "red-ddd"} <= {model["name"] for model in listed}
    assert load_params(project).branches["main"].collection


def test_add_needs_a_team(mlops: Callable) -> None:
    assert mlops("models", "add", "CCC").exit_code == 2


def test_a_requested_model_is_listed_with_its_live_version(project: Project, mlops: Callable) -> None:
    (spec,) = requested_models(project, "red", {"ticker": "NVDA"})
    store_requested(project, spec)
    (listed,) = json.loads(mlops("models", "list", "--only", "red-nvda", "--json").stdout)
    assert (listed["branch"], listed["trained_until"]) == ("requested", None)
    staged = model_folder(project.root / "staged", "red-nvda", ticker="NVDA", branch="requested", live=True)
    read_manifest(staged).model_copy(update={"live": True}).write(staged)
    version = read_manifest(staged).version
    place = archive(project.model_root, "requested", "red-nvda") / version
    place.parent.mkdir(parents=True)
    staged.rename(place)
    for words in (("--only", "red-nvda"), ("--branch", "requested")):
        (listed,) = json.loads(mlops("models", "list", *words, "--json").stdout)
        assert (listed["name"], listed["trained_until"]) == ("red-nvda", "2015-12-31")
        assert listed["folder"] == f"models/.versions/requested/red-nvda/{version}"
    (shown,) = json.loads(mlops("models", "show", "red-nvda", "--json").stdout)
    assert [each["version"] for each in shown["versions"]] == [version]
    assert len(json.loads(mlops("models", "list", "--branch", "main", "--json").stdout)) == len(ALL)


def test_without_requested_models_there_is_no_such_branch(mlops: Callable) -> None:
    done = mlops("models", "list", "--branch", "requested")
    assert (done.exit_code, "no branch 'requested'" in done.stderr) == (3, True)
