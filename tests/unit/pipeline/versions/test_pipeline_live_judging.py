"""Live versions are judged on closes that came after their training, and a worse one is taken back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Promotion
from mlops_cli.errors import MlopsError
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.promotion import promote, rollback
from mlops_cli.models.versions import (
    Champion,
    answering_version,
    archive,
    champion,
    install_live_version,
    versions_lock,
    write_champion,
)
from mlops_cli.pipeline.stages.tables import read_table, write_table
from mlops_cli.pipeline.versions.challenge import Judgement, record_judgement
from mlops_cli.pipeline.versions.live_champions import (
    UNABLE,
    accept_fresh,
    can_forecast,
    hold_champion,
    release_unable,
)
from mlops_cli.pipeline.versions.live_judging import Policy, judge_pairs, pairs
from tests.fakes.branches import write_features
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import model_folder
from tests.fakes.train_jobs import model_spec

SPEC = model_spec("red-a", ticker="A")
EARLY, LATE = date(2015, 6, 1), date(2015, 12, 31)
RULE = Promotion(sessions=30)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose feature table holds the next return, with noise, in the column `actual`."""
    made = Project(tmp_path)
    add_model(made, SPEC.name)
    return made


def add_model(project: Project, name: str) -> None:
    table = write_features(project.features("main"), SPEC.model_copy(update={"name": name}))
    noise = np.random.default_rng(3).normal(0, 0.002, len(table))
    table["actual"] = (np.log(table["next_close"] / table["last_close"]) + noise).fillna(0.0)
    write_table(project.features("main"), name, table)


def frozen(project: Project, share: float, name: str = SPEC.name) -> str:
    """The pipeline's version, which forecasts `share` of the coming return."""
    graph = linear_graph(np.array([share]), 0.0)
    folder = model_folder(project.models("main"), name, graph, ticker="A", inputs=("actual",), trained_until=EARLY)
    return read_manifest(folder).version


def live(
    project: Project, share: float, until: date = LATE, name: str = SPEC.name, inputs: tuple[str, ...] = ("actual",)
) -> str:
    graph = linear_graph(np.array([share]), 0.0)
    folder = model_folder(
        project.root / f"made{share}{until}{name}", name, graph, ticker="A", inputs=inputs, trained_until=until
    )
    return install_live_version(folder, project.model_root, "main", name)


def no_failures(model: str, error: MlopsError) -> None:
    raise AssertionError((model, error))


def judge(project: Project, policy: Policy, *names: str, rule: Promotion = RULE) -> list[Judgement]:
    models = [("main", name) for name in names or (SPEC.name,)]
    return judge_pairs(project, pairs(project, models, policy, no_failures), policy, rule)


def record(project: Project, name: str = SPEC.name) -> Champion:
    return champion(project.model_root, "main", name)


def answers(project: Project) -> str:
    return answering_version(project.model_root, "main", SPEC.name).version


def test_always_takes_a_fresh_version_back_that_proves_worse(project: Project) -> None:
    own = frozen(project, 0.9)
    write_champion(project.model_root, "main", SPEC.name, Champion(own))
    new = live(project, -0.9)
    (judgement,) = judge(project, "always")
    assert (judgement.champion, judgement.challenger) == (own, new)
    assert (judgement.promoted, judgement.rolled_back) == (False, True)
    assert answers(project) == own
    after = record(project)
    assert (after.version, after.pinned, after.history, after.by, after.refused) == (own, True, (), "live", new)
    assert "not nearer" in after.why
    assert not accept_fresh(project.model_root, "main", SPEC.name, "again")  # not the one that proved worse
    newer = live(project, 0.5, date(2016, 1, 15))
    assert accept_fresh(project.model_root, "main", SPEC.name, "newer")
    assert answers(project) == newer
    assert record(project).history == (own,)


def test_always_leaves_a_fresh_version_that_is_no_worse(project: Project) -> None:
    own = frozen(project, 0.1)
    write_champion(project.model_root, "main", SPEC.name, Champion(own))
    new = live(project, 0.9)
    (judgement,) = judge(project, "always")
    assert not judgement.promoted  # it is champion already
    assert not judgement.rolled_back
    assert record(project) == Champion(new, False, (own,), "live", "fresher: it was trained on everything known")


def test_a_version_taken_back_may_prove_better_later(project: Project) -> None:
    own = frozen(project, 0.0)
    new = live(project, 0.9)
    write_champion(project.model_root, "main", SPEC.name, Champion(own, True, (), "live", "worse", refused=new))
    (judgement,) = judge(project, "always")
    assert judgement.promoted
    assert answers(project) == new
    assert not record(project).pinned


def test_tested_promotes_only_what_proves_better(project: Project) -> None:
    own = frozen(project, 0.0)
    hold_champion(project.model_root, "main", SPEC.name)
    new = live(project, 0.9)
    assert answers(project) == own
    (judgement,) = judge(project, "tested")
    assert judgement.promoted
    after = record(project)
    assert (after.version, after.pinned, after.history, after.by) == (new, True, (own,), "live")


def test_tested_keeps_the_champion_where_chance_explains_the_difference(project: Project) -> None:
    own = frozen(project, 0.0)
    hold_champion(project.model_root, "main", SPEC.name)
    live(project, 0.9)
    before = record(project)
    (judgement,) = judge(project, "tested", rule=Promotion(sessions=30, level=1e-15))
    assert not judgement.promoted
    assert (record(project), answers(project)) == (before, own)


def test_a_worse_challenger_that_does_not_answer_changes_nothing(project: Project) -> None:
    own = frozen(project, 0.9)
    hold_champion(project.model_root, "main", SPEC.name)
    live(project, -0.9)
    (judgement,) = judge(project, "tested")
    assert (judgement.promoted, judgement.rolled_back) == (False, False)
    assert answers(project) == own


@pytest.mark.parametrize("policy", ["always", "tested"])
@pytest.mark.parametrize("by", ["hand", None])
def test_a_pin_by_hand_is_left_alone(project: Project, policy: Policy, by: str | None) -> None:
    own = frozen(project, 0.0)
    live(project, 0.9)
    before = Champion(own, True, (), by)  # type: ignore[arg-type]
    write_champion(project.model_root, "main", SPEC.name, before)
    assert judge(project, policy) == []
    assert record(project) == before


def test_without_a_live_version_there_is_nothing_to_judge(project: Project) -> None:
    frozen(project, 0.0)
    assert judge(project, "always") == []


def test_too_few_closes_are_no_judgement(project: Project) -> None:
    frozen(project, 0.9)
    live(project, -0.9, date(2016, 3, 1))
    (judgement,) = judge(project, "always")
    assert "too few known closes" in judgement.reason
    assert not judgement.rolled_back


def test_one_of_many_must_be_clearly_worse(project: Project) -> None:
    """Alone it is taken back at p < level; beside 99 comparisons that p must be smaller."""
    own = frozen(project, 0.9)
    write_champion(project.model_root, "main", SPEC.name, Champion(own))
    live(project, -0.9)
    (alone,) = judge_pairs(project, pairs(project, [("main", SPEC.name)], "always", no_failures), "always", RULE)
    assert alone.p is not None
    assert alone.rolled_back
    write_champion(project.model_root, "main", SPEC.name, Champion(own))
    names = [SPEC.name]
    for number in range(4):
        name = f"red-a-{number}"
        add_model(project, name)
        frozen(project, 0.5, name)
        live(project, 0.500001, name=name)
        names.append(name)
    tight = Promotion(sessions=30, level=min(0.99, alone.p * 1.5 + 1e-300))
    (first, *_) = judge(project, "always", *names, rule=tight)
    assert not first.rolled_back
    assert "not for so many models at once" in first.reason


def test_a_dry_run_writes_nothing(project: Project) -> None:
    frozen(project, 0.9)
    live(project, -0.9)
    (pair,) = pairs(project, [("main", SPEC.name)], "always", no_failures, dry_run=True)
    assert pair.newest_is_champion  # as it will be
    assert not (archive(project.model_root, "main", SPEC.name) / "champion.json").exists()


def test_a_damaged_record_is_reported(project: Project) -> None:
    frozen(project, 0.9)
    live(project, -0.9)
    (archive(project.model_root, "main", SPEC.name) / "champion.json").write_text("{")
    failed: list[str] = []
    assert pairs(project, [("main", SPEC.name)], "always", lambda model, error: failed.append(model)) == []
    assert failed == [SPEC.name]


def test_a_version_that_cannot_forecast_is_an_error_of_its_model_only(project: Project) -> None:
    frozen(project, 0.9)
    live(project, -0.9)
    add_model(project, "red-a-2")
    frozen(project, 0.9, "red-a-2")
    live(project, -0.9, name="red-a-2")
    (project.features("main") / "red-a.parquet").unlink()
    for name in (SPEC.name, "red-a-2"):
        write_champion(project.model_root, "main", name, Champion(read_manifest(project.models("main") / name).version))
    broken, fine = judge(project, "always", SPEC.name, "red-a-2")
    assert (broken.exit_code, fine.exit_code) == (4, 0)
    assert fine.rolled_back


def test_nothing_to_hold_where_there_is_no_version(project: Project) -> None:
    hold_champion(project.model_root, "main", "red-z")
    assert record(project, "red-z") == Champion()
    assert not accept_fresh(project.model_root, "main", "red-z", "nothing")


def rename_feature(project: Project) -> None:
    """The features of the config have changed: the table has the coming return under another name."""
    table = read_table(project.features("main"), SPEC.name)
    assert table is not None
    write_table(project.features("main"), SPEC.name, table.rename(columns={"actual": "renamed"}))


def test_a_held_champion_that_lacks_features_gives_way_to_the_newest(project: Project) -> None:
    own = frozen(project, 0.9)
    hold_champion(project.model_root, "main", SPEC.name)
    rename_feature(project)
    new = live(project, -0.9, inputs=("renamed",))
    assert answers(project) == own
    assert judge(project, "tested") == []  # nor is there anything to compare
    after = record(project)
    assert (after.version, after.pinned, after.history, after.by, after.why) == (new, False, (own,), "live", UNABLE)


@pytest.mark.parametrize("inputs", [("actual",), ("other",)])
def test_a_champion_stays_that_is_able_or_pinned_by_hand_or_where_none_is_able(
    project: Project, inputs: tuple[str, ...]
) -> None:
    own = frozen(project, 0.9)
    live(project, 0.5, inputs=inputs)
    by_hand = Champion(own, True, (), "hand")
    for held, columns in ((by_hand, ["other"]), (replace(by_hand, by="live"), ["actual"])):
        write_champion(project.model_root, "main", SPEC.name, held)
        release_unable(project.model_root, "main", SPEC.name, columns)
        assert record(project) == held
    release_unable(project.model_root, "main", SPEC.name, ["a third"])
    assert answers(project) == own


def test_a_version_that_lacks_features_is_not_held(project: Project) -> None:
    frozen(project, 0.9)
    hold_champion(project.model_root, "main", SPEC.name, ["renamed"])
    assert record(project) == Champion()


def test_a_version_forecasts_without_the_widths_of_its_intervals(project: Project) -> None:
    frozen(project, 0.9)
    manifest = read_manifest(project.models("main") / SPEC.name)
    wide = manifest.model_copy(update={"inputs": ("actual", "width_80"), "levels": (80.0,)})
    assert can_forecast(wide, ["actual"])
    assert not can_forecast(wide, ["width_80"])
    assert can_forecast(wide, None)


def test_a_champion_is_chosen_only_while_no_version_is_installed(project: Project) -> None:
    """By hand, by a judgement, and by a pass that finishes what a killed one began."""
    own = frozen(project, 0.0)
    write_champion(project.model_root, "main", SPEC.name, Champion(own))
    new = live(project, 0.9)
    before = record(project)
    judgement = Judgement("main", SPEC.name, own, new, promoted=True)
    choices = (
        lambda: promote(project, "main", SPEC.name),
        lambda: rollback(project, "main", SPEC.name, routed=False),
        lambda: record_judgement(project, judgement, before, Champion(new)),
        lambda: pairs(project, [("main", SPEC.name)], "always", no_failures),
    )
    with ThreadPoolExecutor(1) as pool:
        for choose in choices:
            write_champion(project.model_root, "main", SPEC.name, before)
            with versions_lock(project, "main", SPEC.name):
                waiting = pool.submit(choose)
                with pytest.raises(TimeoutError):
                    waiting.result(0.1)
                assert record(project) == before
            waiting.result(10)
            assert record(project) != before
