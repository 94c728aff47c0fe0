"""Which models are due, why, in which order, and how many a pass trains."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.live import Live, LiveRetrain
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import MlopsError
from mlops_cli.live.health.state import Health, ModelHealth, State
from mlops_cli.live.watch.due import Circumstances, Prices, find_due
from mlops_cli.live.watch.row_changes import PARTS, _is_in_part
from mlops_cli.market.sessions import sessions
from mlops_cli.models.versions import (
    Champion,
    answering_version,
    archive,
    install_live_version,
    model_versions,
    write_champion,
)
from mlops_cli.pipeline.stages.tables import read_table, write_table
from mlops_cli.pipeline.stages.train_plan import group_of, model_rows, plan_model, rows_hash, settings_mark, values_hash
from tests.fakes.branches import branch_of, write_features
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import model_folder
from tests.fakes.train_jobs import model_spec

A, B = model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")
LAST = date(2016, 3, 11)
"""The last known close: the tables of `write_features` reach to the target 2016-03-14."""

FRESH = date(2016, 3, 10)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def with_version(project: Project, branch: Branch, spec: ModelSpec, until: date, *, live: bool = False) -> str:
    """Give a model a version as if it was trained on the closes up to `until`."""
    features = project.features(branch.name)
    if not (features / f"{spec.name}.parquet").exists():
        write_features(features, spec)
    day = until + timedelta(days=1)
    plan = plan_model(features, branch, day, spec, None)
    values: dict[str, Any] = {
        **spec.model_dump(include={"team", "ticker", "trainer", "target"}),
        "group": group_of(spec),
        "inputs": plan.inputs,
        "train": plan.train,
        "validation_rows": plan.validation,
        "trained_until": plan.trained_until,
        "settings": plan.settings,
        "rows": plan.rows,
        "seed": branch.seed,
    }
    weights = np.full(len(plan.inputs), until.toordinal() * 1e-9)
    folder = project.models(branch.name)
    if live:
        folder = project.root / "made" / str(until)
    made = model_folder(folder, spec.name, linear_graph(weights, 0.0), **values)
    if live:
        return install_live_version(made, project.model_root, branch.name, spec.name)
    return model_versions(project.model_root, branch.name, spec.name)[0].version


def circumstances(project: Project, live: LiveRetrain | None = None, **changes: Any) -> Circumstances:
    values: dict[str, Any] = {
        "project": project,
        "live": Live(retrain=live or LiveRetrain()),
        "judged_after": 20,
        "session": LAST,
        "last_session": lambda exchange: LAST,
        "prices": {"main": {ticker: Prices(LAST, None) for ticker in "AB"}},
        "health": Health(),
    }
    return Circumstances(**{**values, **changes})


def no_failures(model: str, error: MlopsError) -> None:
    raise AssertionError((model, error))


def due(project: Project, branch: Branch, now: Circumstances) -> dict[str, str]:
    """By model, the reason for which it is due, in order."""
    return {item.spec.name: item.reason for item in find_due([branch], now, no_failures)[0]}


def back(count: int) -> date:
    """The session so many sessions before the last one."""
    return sessions("XNYS", date(2015, 1, 1), LAST)[-1 - count].date()


def health(**models: ModelHealth) -> Health:
    return Health(models={f"main/{name.replace('_', '-')}": state for name, state in models.items()})


def test_a_fresh_version_with_nothing_wrong_is_not_due(project: Project) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, FRESH)
    assert due(project, branch, circumstances(project)) == {}


@pytest.mark.parametrize(("age", "is_due"), [(20, False), (21, True), (22, True)])
def test_age_counts_sessions_since_the_training(project: Project, age: int, is_due: bool) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, back(age))
    now = circumstances(project, LiveRetrain(on=()))
    assert (due(project, branch, now) == {"red-a": "age"}) == is_due
    (item, *_), _ = find_due([branch], circumstances(project, LiveRetrain(on=(), max_age_sessions=5)), no_failures)
    assert (item.age, item.why) == (age, f"trained {age} sessions ago")


def test_age_is_no_reason_where_it_is_switched_off_or_nothing_is_new(project: Project) -> None:
    branch = branch_of(A)
    until = back(60)
    with_version(project, branch, A, until)
    assert due(project, branch, circumstances(project, LiveRetrain(on=(), max_age_sessions=None))) == {}
    delisted = circumstances(project, LiveRetrain(on=()), prices={"main": {"A": Prices(until, None)}})
    assert due(project, branch, delisted) == {}
    unknown = circumstances(project, LiveRetrain(on=()), prices={})
    assert due(project, branch, unknown) == {"red-a": "age"}


def test_a_model_without_a_version_is_due(project: Project) -> None:
    branch = branch_of(A)
    write_features(project.features("main"), A)
    assert due(project, branch, circumstances(project, LiveRetrain(on=(), max_age_sessions=None))) == {
        "red-a": "config"
    }


@pytest.mark.parametrize(
    "changed",
    [
        lambda branch: replace(branch, seed=8),
        lambda branch: replace(branch, models=(A.model_copy(update={"ludwig": {"trainer": {"epochs": 3}}}),)),
        lambda branch: replace(branch, training=branch.training.model_copy(update={"validation_sessions": 50})),
    ],
    ids=["seed", "model", "validation"],
)
def test_other_settings_make_a_model_due(project: Project, changed: Any) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, FRESH)
    assert due(project, changed(branch), circumstances(project)) == {"red-a": "config"}


def test_versions_from_before_the_settings_were_noted_are_compared_by_group(project: Project) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, FRESH)
    folder = model_versions(project.model_root, "main", "red-a")[0]
    folder.manifest.model_copy(update={"settings": "", "rows": ""}).write(folder.folder)
    assert due(project, branch, circumstances(project)) == {}
    other = replace(branch, models=(A.model_copy(update={"ludwig": {"trainer": {"epochs": 3}}}),))
    assert due(project, other, circumstances(project)) == {"red-a": "config"}


def test_a_model_without_features_is_not_said_to_have_changed(project: Project) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, FRESH)
    (project.features("main") / "red-a.json").unlink()
    assert due(project, replace(branch, seed=8), circumstances(project)) == {}


def test_a_broken_model_is_due_until_it_was_trained_after_that(project: Project) -> None:
    branch = branch_of(A)
    number = with_version(project, branch, A, back(5))
    broken = ModelHealth(version=number, state=State.BROKEN, since=back(2))
    now = circumstances(project, health=health(red_a=broken))
    assert due(project, branch, now) == {"red-a": "degraded"}
    assert due(project, branch, replace(now, live=Live(retrain=LiveRetrain(on=("drift",))))) == {}
    later = replace(now, health=health(red_a=broken.model_copy(update={"since": back(7)})))
    assert due(project, branch, later) == {}
    watched = replace(now, health=health(red_a=broken.model_copy(update={"state": State.WATCH})))
    assert due(project, branch, watched) == {}


def test_an_alarm_of_a_version_that_does_not_answer_any_more_is_no_reason(project: Project) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, back(5))
    other = ModelHealth(version="000000000000", state=State.BROKEN, since=back(2))
    assert due(project, branch, circumstances(project, health=health(red_a=other))) == {}


def test_a_challenger_trained_after_the_alarm_is_waited_for(project: Project) -> None:
    branch = branch_of(A)
    own = with_version(project, branch, A, back(60))
    write_champion(project.model_root, "main", "red-a", Champion(own, True, (), "live"))
    with_version(project, branch, A, back(1), live=True)
    assert answering_version(project.model_root, "main", "red-a").version == own
    broken = ModelHealth(version=own, state=State.BROKEN, since=back(1))
    assert due(project, branch, circumstances(project, health=health(red_a=broken))) == {}
    worse = circumstances(project, health=health(red_a=broken.model_copy(update={"since": LAST})))
    assert due(project, branch, worse) == {"red-a": "degraded"}


@pytest.mark.parametrize(
    ("age", "judged", "is_due"),
    [(10, False, False), (21, False, False), (40, False, False), (41, False, True), (21, True, True)],
)
def test_age_waits_for_a_challenger_that_is_not_judged(project: Project, age: int, judged: bool, is_due: bool) -> None:
    branch = branch_of(A)
    own = with_version(project, branch, A, back(60))
    write_champion(project.model_root, "main", "red-a", Champion(own, True, (), "live"))
    new = with_version(project, branch, A, back(age), live=True)
    now = circumstances(project, LiveRetrain(on=(), max_age_sessions=5))
    now = replace(now, judged={"main/red-a": f"{own} {new} {LAST}" if judged else f"{own} another {LAST}"})
    assert (due(project, branch, now) == {"red-a": "age"}) == is_due


@pytest.mark.parametrize(
    ("limit", "age", "judged", "is_due"),
    [(21, 21, False, False), (21, 21, True, True), (21, 41, False, True), (20, 20, False, True), (5, 5, False, True)],
)
def test_age_waits_until_a_version_that_answers_is_judged_unless_it_may_not_grow_so_old(
    project: Project, limit: int, age: int, judged: bool, is_due: bool
) -> None:
    branch = branch_of(A)
    own = with_version(project, branch, A, back(60))
    new = with_version(project, branch, A, back(age), live=True)
    write_champion(project.model_root, "main", "red-a", Champion(new, False, (own,), "live"))
    now = circumstances(project, LiveRetrain(on=(), max_age_sessions=limit))
    now = replace(now, judged={"main/red-a": f"{own} {new} {LAST}"} if judged else {})
    assert (due(project, branch, now) == {"red-a": "age"}) == is_due


def test_age_does_not_wait_for_a_comparison_with_a_version_that_cannot_forecast(project: Project) -> None:
    branch = branch_of(A)
    own = with_version(project, branch, A, back(60))
    folder = model_versions(project.model_root, "main", "red-a")[0]
    folder.manifest.model_copy(update={"inputs": ("gone",)}).write(folder.folder)
    new = with_version(project, branch, A, back(21), live=True)
    write_champion(project.model_root, "main", "red-a", Champion(new, False, (own,), "live"))
    assert due(project, branch, circumstances(project, LiveRetrain(on=()))) == {"red-a": "age"}


def restate(project: Project, until: date) -> None:
    table = read_table(project.features("main"), "red-a")
    assert table is not None
    table.loc[table["target_session"] <= pd.Timestamp(until), ["next_close", "target"]] *= 1.5
    write_table(project.features("main"), "red-a", table)


def test_corrected_prices_make_a_model_due_if_its_rows_changed(project: Project) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, back(3))
    seen = {"main": {"A": Prices(LAST, LAST)}}
    now = circumstances(project, prices=seen)
    found, checked = find_due([branch], now, no_failures)
    assert found == []
    restate(project, back(100))
    assert due(project, branch, replace(now, checked=checked)) == {}  # this restatement was looked at already
    assert due(project, branch, now) == {"red-a": "new_data_restated"}
    assert due(project, branch, replace(now, live=Live(retrain=LiveRetrain(on=())))) == {}
    assert due(project, branch, circumstances(project)) == {}  # no step saw closes change: nothing is read


def test_prices_corrected_before_the_training_are_no_reason(project: Project) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, back(3))
    restate(project, back(100))
    now = circumstances(project, prices={"main": {"A": Prices(LAST, back(4))}}, checked={"main/red-a": "x"})
    found, checked = find_due([branch], now, no_failures)
    assert (found, checked) == ([], {})


def test_prices_corrected_on_the_day_of_the_training_are_looked_at(project: Project) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, back(3))
    now = circumstances(project, prices={"main": {"A": Prices(LAST, back(3))}})
    assert due(project, branch, now) == {}
    restate(project, back(100))
    assert due(project, branch, now) == {"red-a": "new_data_restated"}


def test_inputs_that_moved_make_a_model_due_when_its_turn_comes(project: Project) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, back(40))
    table = read_table(project.features("main"), "red-a")
    assert table is not None
    table.loc[table.index > pd.Timestamp(back(40)), "return_1"] += 1.0
    write_table(project.features("main"), "red-a", table)
    live = LiveRetrain(on=("drift",), max_age_sessions=None)
    days = [day.date() for day in pd.bdate_range("2016-03-14", periods=PARTS)]
    reasons = [due(project, branch, circumstances(project, live, session=day)) for day in days]
    assert sorted(map(len, reasons)) == [0] * (PARTS - 1) + [1]
    (item, *_), _ = find_due(
        [branch],
        circumstances(project, live, session=days[[bool(found) for found in reasons].index(True)]),
        no_failures,
    )
    assert (item.reason, "return_1" in item.why) == ("drift", True)


def test_each_model_has_its_turn_once_in_so_many_sessions() -> None:
    days = [day.date() for day in pd.bdate_range("2024-01-01", periods=3 * PARTS)]
    for label in ("main/red-a", "main/red-b", "requested/x"):
        assert sum(_is_in_part(label, day) for day in days) == 3


def test_the_sickest_come_first_then_the_oldest_and_those_that_fail_last(project: Project) -> None:
    names = ("sick", "config", "old", "older", "failing")
    specs = {name: model_spec(f"red-{name}", ticker=name.upper()) for name in names}
    branch = branch_of(*specs.values())
    ages = {"sick": 5, "config": 5, "old": 25, "older": 30, "failing": 40}
    for name, age in ages.items():
        with_version(project, branch, specs[name], back(age))
    sick = answering_version(project.model_root, "main", "red-sick").version
    changed = specs["config"].model_copy(update={"ludwig": {"trainer": {"epochs": 3}}})
    branch = replace(branch, models=tuple(changed if spec.name == "red-config" else spec for spec in branch.models))
    broken = ModelHealth(version=sick, state=State.BROKEN, since=back(1))
    now = circumstances(project, prices={}, health=health(red_sick=broken), failed={"main/red-failing": 2})
    found = due(project, branch, now)
    assert list(found) == ["red-sick", "red-config", "red-older", "red-old", "red-failing"]


def test_a_damaged_record_is_reported_and_the_others_are_looked_at(project: Project) -> None:
    branch = branch_of(A, B)
    for spec in (A, B):
        with_version(project, branch, spec, back(30))
    path = archive(project.model_root, "main", "red-a") / "champion.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    failed: list[str] = []
    found, _ = find_due([branch], circumstances(project), lambda model, error: failed.append(model))
    assert ([item.spec.name for item in found], failed) == (["red-b"], ["red-a"])


def test_the_notes_of_a_training_are_those_that_are_compared(project: Project) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, FRESH)
    manifest = model_versions(project.model_root, "main", "red-a")[0].manifest
    split, inputs = model_rows(project.features("main"), branch, FRESH + timedelta(days=1), A)
    assert manifest.rows == values_hash(split, inputs)
    assert manifest.settings == settings_mark(inputs, branch, A)


def test_a_model_whose_version_lacks_features_cannot_forecast_and_comes_first(project: Project) -> None:
    branch = branch_of(A, B)
    for spec in (A, B):
        with_version(project, branch, spec, FRESH)
    number = answering_version(project.model_root, "main", "red-a").version
    broken = ModelHealth(version=number, state=State.BROKEN, since=LAST)
    table = read_table(project.features("main"), "red-b")
    assert table is not None
    write_table(project.features("main"), "red-b", table.rename(columns={"return_1": "other"}))
    note = project.features("main") / "red-b.json"
    note.write_text(note.read_text().replace("return_1", "other"))
    now = circumstances(project, health=health(red_a=broken))
    assert list(due(project, branch, now).items()) == [("red-b", "features"), ("red-a", "degraded")]


def test_versions_that_noted_a_hash_of_all_digits_are_compared_by_that(project: Project) -> None:
    branch = branch_of(A)
    with_version(project, branch, A, back(3))
    split, inputs = model_rows(project.features("main"), branch, back(3) + timedelta(days=1), A)
    folder = model_versions(project.model_root, "main", "red-a")[0]
    folder.manifest.model_copy(update={"rows": rows_hash(split, inputs)}).write(folder.folder)
    now = circumstances(project, prices={"main": {"A": Prices(LAST, LAST)}})
    assert due(project, branch, now) == {}
    restate(project, back(100))
    assert due(project, branch, now) == {"red-a": "new_data_restated"}
