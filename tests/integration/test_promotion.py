"""Versions through training, promotion by hand and by skill, with the stages and the program themselves."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.config.load import load_scenario
from mlops_cli.config.schemas.serving import Promotion
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import ModelError
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.promotion import promote, rollback
from mlops_cli.models.store import check_files, install
from mlops_cli.models.versions import Champion, archive, champion, model_versions
from mlops_cli.pipeline.judge import judge
from mlops_cli.pipeline.trade.competition_forecasts import replay_book
from mlops_cli.pipeline.trade.newest_forecasts import NewestForecasts
from mlops_cli.pipeline.versions.challenge import promote_by_skill
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.tracking.tracker import NullTracker, RunContext, Tracking
from mlops_cli.trading.passes.paper_pass import SessionForecasts
from tests.fakes.known_closes import know_the_closes
from tests.fakes.linear_trainer import LinearTrainer, linear_graph
from tests.fakes.model_folders import model_folder
from tests.fakes.projects import FEATURES, Silent, SmallProject, small_project

NAME = "red-aaa"
runner = CliRunner()


@pytest.fixture
def small(tmp_path: Path) -> SmallProject:
    return small_project(tmp_path / "p", ["AAA"])


def versions(small: SmallProject) -> list[str]:
    return [one.version for one in model_versions(small.project.model_root, "main", NAME)]


def record(small: SmallProject) -> Champion:
    return champion(small.project.model_root, "main", NAME)


def retrain(small: SmallProject, returns: str) -> str:
    """Train another version; its name."""
    small.config("linear", f"team: red\ntickers: [AAA]\nfeatures: {{returns: [{returns}], volatility: [5]}}\n")
    small.run(LinearTrainer())
    return versions(small)[0]


def judged(small: SmallProject) -> list[dict]:
    return json.loads((small.project.evaluation("main") / "models.json").read_text())


def evaluate(small: SmallProject, only: str | None = None) -> None:
    scenario = load_scenario(small.project, small.branch.scenario)
    judge.evaluate(small.project, small.branch, scenario, Tracking(NullTracker(), RunContext()), Silent(), only)


class TestTraining:
    def test_a_retrained_model_keeps_its_earlier_versions(self, small: SmallProject) -> None:
        made = [retrain(small, returns) for returns in ("1", "1, 2", "1, 3", "1, 4", "1, 5")]
        assert len(set(made)) == 5
        assert versions(small) == [made[4], made[3], made[2], made[0]]  # three, and the champion
        assert record(small) == Champion(made[0], pinned=False)
        for one in model_versions(small.project.model_root, "main", NAME):
            check_files(one.folder, one.manifest)
            assert one.manifest.shrinkage is not None

    def test_a_run_that_trains_nothing_makes_no_version(self, small: SmallProject) -> None:
        first = retrain(small, "1")
        small.run(LinearTrainer())
        assert versions(small) == [first]

    def test_an_interrupted_training_leaves_the_old_version_to_answer(self, small: SmallProject) -> None:
        first = retrain(small, "1")
        small.config("linear", "team: red\ntickers: [AAA]\nfeatures: {returns: [2]}\n")
        with pytest.raises(KeyboardInterrupt):
            small.run(LinearTrainer(interrupt_after=0))
        assert versions(small) == [first]

    def test_another_shrinkage_is_another_version(self, small: SmallProject) -> None:
        first = retrain(small, "1")
        params = small.root / "params.yaml"
        params.write_text(params.read_text().replace("min_sessions: 200", "min_sessions: 200, shrinkage: 0.123"))
        trainer = LinearTrainer()
        small.run(trainer)
        assert trainer.trained == []
        assert versions(small) == [versions(small)[0], first]

    def test_versions_of_a_removed_model_go_with_it(self, small: SmallProject) -> None:
        retrain(small, "1")
        retrain(small, "2")
        assert archive(small.project.model_root, "main", NAME).is_dir()
        small.config("linear", f"team: blue\ntickers: [AAA]\nfeatures: {FEATURES}\n")
        small.run(LinearTrainer())
        assert versions(small) == []
        assert not archive(small.project.model_root, "main", NAME).exists()

    def test_the_walk_forward_keeps_no_versions(self, small: SmallProject) -> None:
        small.run(LinearTrainer())
        small.simulate(retrain="monthly", trainer=LinearTrainer())
        assert not list(small.project.state.rglob(".versions"))

    def test_a_small_variant_is_trained_judged_and_named(self, small: SmallProject) -> None:
        small.run(LinearTrainer())
        before = read_manifest(small.project.models("main") / NAME)
        text = f"team: red\ntickers: [AAA]\nfeatures: {FEATURES}\n"
        small.config("linear", text + "small: {trainer: naive}\n")
        trainer = LinearTrainer()
        reports = small.run(trainer)
        assert trainer.trained == []
        assert reports[2].done == [f"{NAME}-small"]
        after = read_manifest(small.project.models("main") / NAME)
        assert (before.small, after.small) == (None, f"{NAME}-small")
        assert after.model_copy(update={"small": None}) == before
        assert [one["model"] for one in judged(small)] == [NAME, f"{NAME}-small"]
        small.config("linear", text)
        small.run(trainer)
        assert read_manifest(small.project.models("main") / NAME) == before
        assert not (small.project.models("main") / f"{NAME}-small").exists()


class TestTrading:
    def test_a_pinned_version_is_traded_and_never_on_another_ones_verdict(self, small: SmallProject) -> None:
        first, second = retrain(small, "1"), retrain(small, "1, 2")
        start = load_scenario(small.project, small.branch.scenario).start
        period = start, start + timedelta(days=30)

        def traded(source: dict[tuple[str, date], SessionForecasts]) -> set[tuple[str, str | None]]:
            return {(one.version, one.verdict) for some in source.values() for one in some.forecasts}

        def by_replay() -> set[tuple[str, str | None]]:
            book = replay_book(small.project, [small.branch], {"red": Rules()}, *period, Silent())
            return traded(dict(book.forecasts))

        def by_pass() -> set[tuple[str, str | None]]:
            source = CsvSource(small.root / "data" / "incoming")
            newest = NewestForecasts(small.project, [small.branch], lambda _: source, Silent())
            row = pd.read_parquet(small.project.features("main") / f"{NAME}.parquet").iloc[[-1]]
            days = row.index[0].date(), row["target_session"].iloc[0].date()
            return traded({("red", days[1]): newest.forecasts("red", Rules(), *days)})

        ((version, verdict),) = by_replay()
        assert version == second
        assert verdict is not None
        assert by_pass() == {(second, verdict)}
        promote(small.project, "main", NAME, first)
        assert by_replay() == by_pass() == {(first, None)}
        evaluate(small)
        rows = {row["version"]: row for row in judged(small)}
        assert rows.keys() == {first, second}
        assert [version for version, row in rows.items() if row.get("pinned")] == [first]
        assert rows[first]["mae_raw"] != rows[second]["mae_raw"]
        assert by_replay() == by_pass() == {(first, rows[first]["verdict"])}
        shown = runner.invoke(app, ["models", "list", "--json", "--project", str(small.root)])
        assert [one["verdict"] for one in json.loads(shown.stdout)] == [rows[first]["verdict"]]
        promote(small.project, "main", NAME)
        evaluate(small)
        assert [row["version"] for row in judged(small)] == [second]


class TestEvaluatingSome:
    def test_the_others_stay_as_they_were_judged(self, tmp_path: Path) -> None:
        small = small_project(tmp_path / "p", ["AAA", "BBB", "CCC"])
        small.run(LinearTrainer())
        before, files = judged(small), sorted(small.project.evaluation("main").iterdir())
        forecasts = pd.read_parquet(small.project.evaluation("main") / "forecasts.parquet")
        evaluate(small, "*-bbb")
        assert judged(small) == before
        assert sorted(small.project.evaluation("main").iterdir()) == files
        pd.testing.assert_frame_equal(
            pd.read_parquet(small.project.evaluation("main") / "forecasts.parquet"), forecasts
        )
        (small.project.models("main") / "red-bbb" / "model.onnx").unlink()
        evaluate(small, "*-bbb")
        assert [row["model"] for row in judged(small)] == ["red-aaa", "red-ccc"]


class TestByHand:
    def test_the_newest_is_promoted_and_not_pinned(self, small: SmallProject) -> None:
        first, second = retrain(small, "1"), retrain(small, "2")
        change = promote(small.project, "main", NAME)
        assert (change.before, change.after, change.pinned) == (first, second, False)
        assert record(small) == Champion(second, False, (first,), "hand")

    def test_a_version_is_promoted_by_its_first_letters_and_pinned(self, small: SmallProject) -> None:
        first, second = retrain(small, "1"), retrain(small, "2")
        assert promote(small.project, "main", NAME, second).after == second
        assert promote(small.project, "main", NAME, first[:6]).after == first
        assert record(small) == Champion(first, True, (first, second), "hand")

    @pytest.mark.parametrize("version", ["", "nonsense"])
    def test_a_version_that_is_not_kept_is_refused(self, small: SmallProject, version: str) -> None:
        first = retrain(small, "1")
        with pytest.raises(ModelError, match=f"matches no kept version\nnewest first: {first}"):
            promote(small.project, "main", NAME, version)

    def test_going_back_from_the_newest_goes_to_the_one_before(self, small: SmallProject) -> None:
        first, second, third = (retrain(small, returns) for returns in ("1", "2", "3"))
        change = rollback(small.project, "main", NAME, routed=False)
        assert (change.before, change.after) == (third, second)
        assert record(small).pinned
        assert rollback(small.project, "main", NAME, routed=False).after == first
        with pytest.raises(ModelError, match=f"no version before {first} is kept"):
            rollback(small.project, "main", NAME, routed=False)

    def test_going_back_from_a_champion_goes_to_the_champion_before(self, small: SmallProject) -> None:
        first, second, third = (retrain(small, returns) for returns in ("1", "2", "3"))
        for version in (third, first, second):
            promote(small.project, "main", NAME, version)
        assert record(small).history == (first, third, first)
        assert rollback(small.project, "main", NAME, routed=False).after == first
        assert record(small) == Champion(first, True, (first, third), "hand")
        assert rollback(small.project, "main", NAME, routed=False).after == third

    def test_with_a_route_it_is_the_champion_that_answers(self, small: SmallProject) -> None:
        first, _, third = (retrain(small, returns) for returns in ("1", "2", "3"))
        promote(small.project, "main", NAME)
        assert record(small) == Champion(third, False, (first,), "hand")
        assert rollback(small.project, "main", NAME, routed=True).after == first


def linear_version(small: SmallProject, share: float, until: str, columns: tuple[str, ...] = ("actual",)) -> str:
    """Install a version that forecasts `share` of what will come, as the column `actual` says it."""
    made = model_folder(
        small.root / "made",
        NAME,
        linear_graph(np.full(len(columns), share), 0.0),
        inputs=columns,
        ticker="AAA",
        trained_until=pd.Timestamp(until).date(),
    )
    version = read_manifest(made).version
    install(made, small.project.models("main") / NAME, 3)
    return version


@pytest.fixture
def known(small: SmallProject) -> SmallProject:
    """A project whose feature table holds the answer (plus noise) in a column."""
    know_the_closes(small, NAME)
    return small


class TestBySkill:
    def judge(self, known: SmallProject, **rule: float) -> list:
        return list(promote_by_skill(known.project, [("main", NAME)], Promotion(**rule)))

    def test_a_challenger_that_is_nearer_is_promoted(self, known: SmallProject) -> None:
        first = linear_version(known, 0.0, "2017-05-31")
        second = linear_version(known, 0.9, "2017-05-31")
        (one,) = self.judge(known)
        assert (one.champion, one.challenger, one.promoted, one.sessions) == (first, second, True, 20)
        assert one.mae_challenger < 0.5 * one.mae_champion
        assert one.p < 0.1
        assert record(known) == Champion(
            second, False, (first,), "skill", f"{second} against {first}: nearer, with p below 0.1"
        )
        assert self.judge(known) == []

    def test_the_figures_are_those_of_the_last_unseen_sessions(self, known: SmallProject) -> None:
        linear_version(known, 0.0, "2017-05-31")
        linear_version(known, 0.9, "2017-05-31")
        (one,) = self.judge(known, sessions=25)
        table = pd.read_parquet(known.project.features("main") / f"{NAME}.parquet").dropna(subset="next_close").tail(25)
        closes = table["last_close"] * np.exp(0.9 * table["actual"])
        assert one.mae_challenger == pytest.approx((closes - table["next_close"]).abs().mean(), rel=1e-5)
        assert one.mae_champion == pytest.approx((table["last_close"] - table["next_close"]).abs().mean(), rel=1e-6)

    def test_one_that_answers_and_is_farther_is_rolled_back(self, known: SmallProject) -> None:
        first = linear_version(known, 0.9, "2017-05-31")
        second = linear_version(known, -0.9, "2017-05-31")
        (one,) = self.judge(known)
        assert (one.promoted, one.rolled_back) == (False, True)
        assert one.reason == "not nearer, with p below 0.1"
        after = record(known)
        assert (after.version, after.pinned, after.by, after.refused) == (first, True, "skill", second)
        (again,) = self.judge(known)
        assert (again.promoted, again.rolled_back) == (False, False)
        assert record(known) == after

    def test_one_that_has_a_share_only_stays_as_it_is(self, known: SmallProject) -> None:
        first = linear_version(known, 0.9, "2017-05-31")
        linear_version(known, -0.9, "2017-05-31")
        (one,) = promote_by_skill(known.project, [("main", NAME)], Promotion(), {NAME: {"champion": 0.9}})
        assert (one.promoted, one.rolled_back) == (False, False)
        assert record(known) == Champion(first, False)

    def test_a_difference_that_chance_explains_is_none(self, known: SmallProject) -> None:
        linear_version(known, 0.0, "2017-05-31")
        linear_version(known, 0.9, "2017-05-31")
        (one,) = self.judge(known, level=1e-12)
        assert not one.promoted
        assert "chance could have done it" in one.reason
        assert one.mae_challenger < one.mae_champion

    def test_only_sessions_after_both_trainings_count(self, known: SmallProject) -> None:
        table = pd.read_parquet(known.project.features("main") / f"{NAME}.parquet")
        until = table.dropna(subset="next_close")["target_session"].iloc[-6]
        linear_version(known, 0.0, "2017-05-31")
        linear_version(known, 0.9, str(until.date()))
        (one,) = self.judge(known)
        assert (one.sessions, one.promoted, one.exit_code) == (5, False, 0)
        assert "serving.promotion.sessions asks for 20" in one.reason

    def test_a_champion_that_takes_other_columns_cannot_be_judged(self, known: SmallProject) -> None:
        linear_version(known, 0.0, "2017-05-31", ("gone",))
        linear_version(known, 0.9, "2017-05-31")
        (one,) = self.judge(known)
        assert (one.promoted, one.exit_code) == (False, 6)
        assert "the feature table lacks gone" in one.reason


class TestCommands:
    def mlops(self, small: SmallProject, *words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["models", *words, "--project", str(small.root)])
        return done.exit_code, done.stdout, done.stderr

    def test_promote_rollback_and_show(self, small: SmallProject) -> None:
        first, second = retrain(small, "1"), retrain(small, "2")
        assert self.mlops(small, "promote", NAME)[1] == f"{NAME}: {second} is champion, in place of {first}\n"
        code, out, said = self.mlops(small, "rollback", NAME)
        assert (code, out) == (0, f"{NAME}: {first} is champion, in place of {second}\n")
        assert said == "it answers until another is promoted; judge it with: mlops evaluate\n"
        (shown,) = json.loads(self.mlops(small, "show", NAME, "--json")[1])
        assert [one["version"] for one in shown["versions"]] == [second, first]
        assert shown["champion"] == {"version": first, "pinned": True, "history": [], "by": "hand", "why": ""}

    def test_by_skill_says_its_figures(self, known: SmallProject) -> None:
        linear_version(known, 0.0, "2017-05-31")
        second = linear_version(known, 0.9, "2017-05-31")
        code, out, said = self.mlops(known, "promote", "--by-skill")
        assert code == 0
        assert second in out
        assert "promoted" in out
        assert said == "1 of 1 challengers promoted, 0 rolled back, 1 models\n"
        assert json.loads(self.mlops(known, "promote", "--by-skill", "--json")[1]) == []

    def test_what_cannot_be_judged_is_listed_and_counted(self, known: SmallProject) -> None:
        linear_version(known, 0.0, "2017-05-31", ("gone",))
        linear_version(known, 0.9, "2017-05-31")
        code, out, _ = self.mlops(known, "promote", "--by-skill", "--json")
        assert code == 9
        assert json.loads(out)[0]["exit_code"] == 6

    @pytest.mark.parametrize("words", [["promote"], ["promote", NAME, "--by-skill"], ["promote", NAME, "--only", "x"]])
    def test_usage(self, small: SmallProject, words: list[str]) -> None:
        assert self.mlops(small, *words)[0] == 2

    def test_an_unknown_model_and_an_untrained_one(self, small: SmallProject) -> None:
        code, _, said = self.mlops(small, "promote", "red-aab")
        assert (code, "did you mean red-aaa?" in said) == (3, True)
        code, _, said = self.mlops(small, "rollback", NAME)
        assert (code, said.splitlines()[1]) == (6, "hint: train it: mlops run")
