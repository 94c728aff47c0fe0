"""Challenger against champion, on tables in which the answer is known."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Promotion
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.versions import Champion, archive, champion, move_to_archive, write_champion
from mlops_cli.pipeline.stages.tables import read_table, write_table
from mlops_cli.pipeline.versions.challenge import Judgement, promote_by_skill
from tests.fakes.branches import write_features
from tests.fakes.linear_trainer import linear_graph
from tests.fakes.model_folders import model_folder
from tests.fakes.train_jobs import model_spec

SPEC = model_spec("red-a", ticker="A")
UNTIL = date(2015, 12, 31)
RULE = Promotion(sessions=30)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose feature table holds the next return, with noise, in the column `actual`."""
    made = Project(tmp_path)
    table = write_features(made.features("main"), SPEC)
    noise = np.random.default_rng(3).normal(0, 0.002, len(table))
    table["actual"] = (np.log(table["next_close"] / table["last_close"]) + noise).fillna(0.0)
    write_table(made.features("main"), SPEC.name, table)
    return made


def version(project: Project, share: float, until: date = UNTIL) -> str:
    """Make a version that forecasts `share` of the coming return the newest one; its name."""
    newest = project.models("main") / SPEC.name
    if newest.exists():
        assert move_to_archive(newest)
    graph = linear_graph(np.array([share]), 0.0)
    folder = model_folder(newest.parent, SPEC.name, graph, ticker="A", inputs=("actual",), trained_until=until)
    return read_manifest(folder).version


def versions(project: Project, champions: float, challengers: float, *, pinned: bool = False) -> tuple[str, str]:
    first, second = version(project, champions), version(project, challengers)
    write_champion(project.model_root, "main", SPEC.name, Champion(first, pinned))
    return first, second


def judge(project: Project, rule: Promotion = RULE, routed: tuple[str, ...] = ()) -> list[Judgement]:
    return list(promote_by_skill(project, [("main", SPEC.name)], rule, routed))


def record(project: Project) -> Champion:
    return champion(project.model_root, "main", SPEC.name)


def test_a_nearer_challenger_becomes_champion_and_is_not_judged_again(project: Project) -> None:
    first, second = versions(project, 0.0, 0.9)
    (one,) = judge(project)
    assert (one.branch, one.model, one.champion, one.challenger) == ("main", "red-a", first, second)
    assert (one.promoted, one.rolled_back, one.exit_code) == (True, False, 0)
    why = f"{second} against {first}: nearer, with p below 0.1"
    assert record(project) == Champion(second, False, (first,), "skill", why)
    assert judge(project) == []


def test_a_pinned_champion_is_followed_by_a_pinned_one(project: Project) -> None:
    _, second = versions(project, 0.0, 0.9, pinned=True)
    assert judge(project)[0].promoted
    assert (record(project).version, record(project).pinned, record(project).by) == (second, True, None)


def test_the_figures_are_those_of_the_latest_known_closes(project: Project) -> None:
    versions(project, 0.0, 0.9)
    (one,) = judge(project)
    table = read_table(project.features("main"), "red-a").dropna(subset="next_close").tail(30)
    forecast = table["last_close"] * np.exp(0.9 * table["actual"])
    assert one.sessions == 30
    assert one.mae_challenger == pytest.approx((forecast - table["next_close"]).abs().mean(), rel=1e-5)
    assert one.mae_champion == pytest.approx((table["last_close"] - table["next_close"]).abs().mean(), rel=1e-6)
    assert 0 <= one.p < 0.1


def test_a_challenger_that_answers_and_is_farther_gives_way(project: Project) -> None:
    first, second = versions(project, 0.9, -0.9)
    (one,) = judge(project)
    assert (one.promoted, one.rolled_back) == (False, True)
    why = f"{second} against {first}: not nearer, with p below 0.1"
    assert record(project) == Champion(first, True, (), "skill", why, refused=second)


@pytest.mark.parametrize(("pinned", "routed"), [(True, ()), (False, ("red-a",))])
def test_where_the_champion_answers_already_there_is_nothing_to_roll_back(
    project: Project, pinned: bool, routed: tuple[str, ...]
) -> None:
    versions(project, 0.9, -0.9, pinned=pinned)
    before = record(project)
    (one,) = judge(project, routed=routed)
    assert (one.promoted, one.rolled_back) == (False, False)
    assert record(project) == before


def test_what_chance_explains_changes_nothing(project: Project) -> None:
    first, _ = versions(project, 0.0, 0.9)
    (one,) = judge(project, Promotion(sessions=30, level=1e-15))
    assert (one.promoted, one.rolled_back) == (False, False)
    assert "chance could have done it" in one.reason
    assert record(project).version == first


def test_equal_forecasts_have_no_p_and_change_nothing(project: Project) -> None:
    first = version(project, 0.9)
    newest = project.models("main") / "red-a"
    assert move_to_archive(newest)
    graph = linear_graph(np.array([0.9, 0.0]), 0.0)  # another graph with the same forecasts
    model_folder(newest.parent, "red-a", graph, ticker="A", inputs=("actual", "return_1"), trained_until=UNTIL)
    write_champion(project.model_root, "main", "red-a", Champion(first))
    (one,) = judge(project)
    assert (one.p, one.promoted, one.rolled_back) == (None, False, False)


def test_sessions_that_either_was_trained_on_do_not_count(project: Project) -> None:
    first = version(project, 0.0)
    version(project, 0.9, until=date(2016, 2, 16))
    write_champion(project.model_root, "main", "red-a", Champion(first))
    (one,) = judge(project)
    table = read_table(project.features("main"), "red-a").dropna(subset="next_close")
    assert one.sessions == (table["target_session"] > pd.Timestamp("2016-02-16")).sum() < 30
    assert (one.mae_champion, one.promoted) == (None, False)
    assert "serving.promotion.sessions asks for 30" in one.reason


class TestNotJudged:
    def test_a_model_without_versions_or_without_a_champion_is_passed_over(self, project: Project) -> None:
        assert judge(project) == []
        version(project, 0.9)
        assert judge(project) == []

    def test_a_champion_that_is_gone_is_an_error_of_that_model(self, project: Project) -> None:
        version(project, 0.9)
        write_champion(project.model_root, "main", "red-a", Champion("0" * 12))
        (one,) = judge(project)
        assert (one.champion, one.promoted, one.exit_code) == ("0" * 12, False, 6)
        assert "its champion is not there any more" in one.reason

    def test_a_damaged_record_is_an_error_of_that_model(self, project: Project) -> None:
        versions(project, 0.0, 0.9)
        (archive(project.model_root, "main", "red-a") / "champion.json").write_text("{")
        (one,) = judge(project)
        assert (one.champion, one.exit_code) == ("?", 6)

    def test_without_features_nothing_is_changed(self, project: Project) -> None:
        first, _ = versions(project, 0.0, 0.9)
        (project.features("main") / "red-a.parquet").unlink()
        (one,) = judge(project)
        assert (one.promoted, one.exit_code) == (False, 4)
        assert "mlops featurize" in one.reason
        assert record(project).version == first

    def test_one_that_cannot_be_judged_does_not_stop_the_next(self, project: Project) -> None:
        versions(project, 0.0, 0.9)
        write_champion(project.model_root, "other", "red-a", Champion("0" * 12))
        broken = project.models("other")
        model_folder(broken, "red-a", linear_graph(np.array([0.5]), 0.0), inputs=("actual",))
        outcomes = list(promote_by_skill(project, [("other", "red-a"), ("main", "red-a")], RULE))
        assert [(one.branch, one.promoted, one.exit_code) for one in outcomes] == [
            ("other", False, 6),
            ("main", True, 0),
        ]
