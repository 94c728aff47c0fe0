"""`--set KEY=VALUE` and what DVC must find in params.yaml."""

from __future__ import annotations

from datetime import date

import pytest

from mlops_cli.config.editing.params import ensure_complete, set_values, shown
from mlops_cli.config.load import load_params
from mlops_cli.config.schemas.project import Params
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.init import Template, template_files
from tests.fakes.config_projects import make_project

DEMO = template_files(Template.DEMO)["params.yaml"]


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path, params=DEMO)


def test_values_are_written_and_told(project):
    lines = set_values(project, ["source.kind=csv", "period.start=2001-02-03", "training.shrinkage=0.5", "seed=7"])
    assert lines == [
        "params.yaml: source.kind: sample -> csv",
        "params.yaml: period.start: nothing -> 2001-02-03",
        "params.yaml: training.shrinkage: pooled -> 0.5",
    ]
    params = load_params(project)
    assert params.source.kind == "csv"
    assert params.period.start == date(2001, 2, 3)
    assert params.training.shrinkage == 0.5
    changed = set(project.params.read_text().splitlines()) - set(DEMO.splitlines())
    assert changed == {"  kind: csv", "  start: '2001-02-03'", "  shrinkage: 0.5"}


def test_setting_what_is_set_changes_no_byte(project):
    before = project.params.stat().st_ino
    assert set_values(project, ["seed=7", "source.kind=sample", "period.end=null"]) == []
    assert project.params.stat().st_ino == before


def test_a_new_branch(project):
    (line,) = set_values(project, ["branches.mine.collection=[configs/mine, configs/yours]"])
    assert line == "params.yaml: branches.mine.collection: nothing -> [configs/mine, configs/yours]"
    assert load_params(project).branches["mine"].collection == ("configs/mine", "configs/yours")
    assert set_values(project, ["branches={other: {collection: configs/x}}"])
    assert list(load_params(project).branches) == ["other"]


def test_values_are_yaml(project):
    set_values(project, ['period.start="2001-02-03"', "branches.a.collection=configs/a=b", "seed= 12 "])
    params = load_params(project)
    assert params.branches["a"].collection == ("configs/a=b",)
    assert params.seed == 12


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("seed=x", "params.yaml: seed: expected a whole number from 0 to 2147483647, was 'x'"),
        ("sede=1", "params.yaml: sede: unknown key, did you mean seed?"),
        ("source.kid=csv", "params.yaml: source.kid: unknown key, did you mean kind?"),
        ("branches.a=1", "params.yaml: branches.a: expected a mapping, was the number 1"),
        ("branches.A.collection=x", "params.yaml: branches.A: expected a name of lower-case letters, digits and _ -"),
        ("branches.brk.b.collection=x", "params.yaml: branches.brk.b: unknown key"),
        ("seed.x=1", "params.yaml: seed is not a mapping, it has no x"),
        ("seed", "--set seed: expected KEY=VALUE, was 'seed'"),
        ("=1", "--set =1: expected KEY=VALUE, was '=1'"),
        ("a..b=1", "--set a..b=1: expected KEY=VALUE"),
        ("seed=[", "--set seed=[: line 2"),
        ("period.end=2020-99-01", "params.yaml: period.end: expected a date"),
    ],
)
def test_a_bad_assignment_leaves_the_file_as_it_was(project, assignment, said):
    with pytest.raises(ConfigError) as raised:
        set_values(project, ["training.min_sessions=400", assignment])
    assert said in raised.value.message
    assert raised.value.hint
    assert project.params.read_text() == DEMO
    assert sorted(path.name for path in project.root.iterdir()) == ["data", "params.yaml", "simulation"]


def test_a_scenario_that_is_not_there_is_not_set(project):
    before = project.params.read_bytes()
    with pytest.raises(ConfigError, match=r"simulation/nope\.yaml: no such scenario"):
        set_values(project, ["seed=8", "simulation={scenario: nope}"])
    assert project.params.read_bytes() == before
    project.scenario("nope").parent.mkdir(exist_ok=True)
    project.scenario("nope").write_text("start: 2012-01-01\ndays: 200\n")
    assert set_values(project, ["simulation.scenario=nope"]) == ["params.yaml: simulation.scenario: demo -> nope"]


def test_what_dvc_needs_is_added(tmp_path):
    project = make_project(tmp_path, params="# mine\nsource: {kind: csv}  # files\nsimulation: {}\nperiod:\n")
    assert ensure_complete(project) == [
        "params.yaml: seed: added, 7",
        "params.yaml: branches: added, {}",
        "params.yaml: period: added, {start: nothing, end: nothing}",
        "params.yaml: training: added, {validation_sessions: 252, min_sessions: 300, shrinkage: pooled, "
        "strategy: auto, device: auto, bf16: false, workers: nothing, memory_gb: nothing, "
        "executor: local, ray_address: nothing, median_stopping: nothing}",
        "params.yaml: intervals: added, {levels: [80.0, 95.0], method: stock}",
        "params.yaml: source.folder: added, data/incoming",
        "params.yaml: simulation.scenario: added, demo",
    ]
    text = project.params.read_text()
    assert text.startswith("# mine\nsource: {kind: csv, folder: data/incoming} # files\n")
    assert load_params(project) == Params.model_validate({"source": {"kind": "csv"}})
    assert ensure_complete(project) == []
    assert project.params.read_text() == text


def test_bare_dates_are_quoted_because_dvc_cannot_read_them(tmp_path):
    project = make_project(tmp_path, params=DEMO.replace("start: null", "start: 2001-02-03  # long ago"))
    assert ensure_complete(project) == [
        "params.yaml: period.start: date put in quotes, because DVC cannot read it without"
    ]
    assert project.params.read_text() == DEMO.replace("start: null", 'start: "2001-02-03" # long ago')


def test_the_templates_are_complete(tmp_path):
    for template in Template:
        project = make_project(tmp_path / template, params=template_files(template)["params.yaml"])
        assert ensure_complete(project) == []


def test_a_broken_file_is_no_reason_for_a_traceback(tmp_path):
    for text in ("a: [", "sede: 1\n", "- a\n"):
        project = make_project(tmp_path, params=text)
        for call in (lambda p: set_values(p, ["seed=1"]), ensure_complete):
            with pytest.raises(ConfigError, match=r"^params\.yaml: "):
                call(project)
        assert project.params.read_text() == text
    project.params.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        ensure_complete(project)


def test_shown():
    assert shown({"a": [True, None, "x", 1.5]}) == "{a: [true, nothing, x, 1.5]}"
