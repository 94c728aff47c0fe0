"""Models trained anew as a scenario goes on: what they see, what is trained again, and what is reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import ConfigError, TrainingError
from mlops_cli.evaluation.paired import compare
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.predict import Model
from mlops_cli.models.store import check_files
from mlops_cli.simulation.result_lines import result_lines
from mlops_cli.simulation.result_table import result_table
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import FEATURES, SCENARIO_START, SmallProject, small_project

MONTHS = ["2017-06-01", "2017-07-03", "2017-08-01"]
NAMES = ["red-aaa", "red-bbb", "red-ccc"]
FROZEN_FILES = ("forecasts.parquet", "metrics.json", "plots/forecast_vs_actual.png", "plots/teams.png")


class Jobs(LinearTrainer):
    """Remembers the jobs of every call, too."""

    def __init__(self, interrupt_after: int | None = None, refuse: tuple[str, ...] = ()) -> None:
        super().__init__(interrupt_after=interrupt_after, refuse=refuse)
        self.calls: list[list[TrainJob]] = []

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        self.calls.append(list(jobs))
        return super().fit(jobs, progress)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Model and date of every job; a job's folder is `<model>@<date>`."""
        return [(job.spec.name, job.folder.name.partition("@")[2]) for jobs in self.calls for job in jobs]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """Trained, with no walk-forward yet; tests work on copies of it."""
    made = small_project(tmp_path_factory.mktemp("trained") / "p")
    made.run(LinearTrainer())
    return made


@pytest.fixture
def small(trained: SmallProject, tmp_path: Path) -> SmallProject:
    return SmallProject(shutil.copytree(trained.root, tmp_path / "p"))


def kept(small: SmallProject) -> dict[str, bytes]:
    """The graphs of the retrained models, by model and date."""
    root = small.project.walk_forward
    return {str(path.parent.relative_to(root)): path.read_bytes() for path in root.glob("*/*/*/model.onnx")}


def mark(small: SmallProject, name: str) -> str:
    return read_manifest(small.project.walk_forward / name).fingerprint


def stitched(small: SmallProject, name: str = "mine") -> pd.DataFrame:
    return pd.read_parquet(small.project.report(name) / "forecasts_walk_forward.parquet")


def report_files(small: SmallProject) -> dict[str, bytes]:
    folder = small.project.report("mine")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_model_is_trained_at_every_date_in_one_call_and_a_second_time_not_at_all(small: SmallProject) -> None:
    first, second = Jobs(), Jobs()
    summary, report = small.simulate(retrain="monthly", trainer=first)
    assert report.failures == []
    assert len(first.calls) == 1
    assert sorted(first.asked) == [(name, day) for name in NAMES for day in MONTHS[1:]]
    assert summary["walk_forward"]["retrain"] == "monthly"
    assert summary["walk_forward"]["dates"] == MONTHS
    assert sorted(kept(small)) == [f"main/{name}/{day}" for name in NAMES for day in MONTHS[1:]]
    assert not (small.project.walk_forward / ".staging" / "main").exists()
    before, files = kept(small), report_files(small)
    again, _ = small.simulate(retrain="monthly", trainer=second)
    assert second.calls == []
    assert again == summary
    assert kept(small) == before
    assert report_files(small) == files


def test_the_kept_models_are_normal_model_folders_with_the_shrinkage_of_their_group_and_date(
    small: SmallProject,
) -> None:
    small.simulate(retrain="monthly", trainer=LinearTrainer())
    for day in MONTHS[1:]:
        models = [Model.open(small.project.walk_forward / "main" / name / day) for name in NAMES]
        assert len({model.manifest.shrinkage for model in models}) == 1
        for model in models:
            check_files(model.folder, model.manifest)
            assert str(model.manifest.trained_until) < day
            assert model.manifest.validation.mae_ratio is not None
            assert model.manifest.validation_rows.sessions == 60
            table = pd.read_parquet(small.project.features("main") / f"{model.manifest.name}.parquet")
            shrunk, raw = model.log_returns(table)
            drift, shrinkage = model.manifest.base_drift, model.manifest.shrinkage
            ordinary = (table["announced_dividend"] == 0).to_numpy()
            expected = drift + shrinkage * (raw - drift)
            np.testing.assert_allclose(shrunk[ordinary], expected[ordinary], rtol=1e-6, atol=1e-9)
            earlier = table.loc[table["target_session"] < pd.Timestamp(day)].index
            assert model.manifest.validation_rows.last == earlier[-1].date(), "all that was known by then is used"


def test_the_frozen_part_is_that_of_retrain_never(small: SmallProject) -> None:
    frozen, _ = small.simulate()
    before = report_files(small)
    assert "walk_forward" not in frozen
    assert "forecasts_walk_forward.parquet" not in before
    both, _ = small.simulate(retrain="monthly", trainer=LinearTrainer())
    assert {key: both[key] for key in frozen} == frozen
    after = report_files(small)
    assert {name: after[name] for name in FROZEN_FILES} == {name: before[name] for name in FROZEN_FILES}
    small.simulate()
    assert report_files(small) == before, "what the walk-forward part wrote is gone"


def test_up_to_the_first_retraining_the_forecasts_are_those_of_the_frozen_models(small: SmallProject) -> None:
    summary, _ = small.simulate(retrain="monthly", trainer=LinearTrainer())
    frozen = pd.read_parquet(small.project.report("mine") / "forecasts.parquet")
    walked = stitched(small)
    pd.testing.assert_frame_equal(frozen[["model", "session", "actual_close"]], walked[frozen.columns[[0, 3, 8]]])
    same = frozen["predicted_close"] == walked["predicted_close"]
    early = frozen["target_session"] < pd.Timestamp(MONTHS[1])
    assert same[early].all()
    raw = frozen["raw_predicted_close"] == walked["raw_predicted_close"]
    assert not raw[~early].any()
    for entry in summary["walk_forward"]["models"]:
        rows = walked[walked["model"] == entry["model"]]
        assert entry["mae"] == pytest.approx((rows["predicted_close"] - rows["actual_close"]).abs().mean())
        assert entry["n"] == len(rows)
    late = walked["target_session"] >= pd.Timestamp(MONTHS[1])
    assert summary["walk_forward"]["comparison"] == compare(walked[late], frozen)


@pytest.mark.parametrize("retrain", ["monthly", 25])
def test_no_model_sees_a_row_at_or_after_its_date(small: SmallProject, tmp_path: Path, retrain: str | int) -> None:
    """Another future changes neither the models before it nor their forecasts."""
    summary, _ = small.simulate(retrain=retrain, trainer=LinearTrainer())
    before, forecasts = kept(small), stitched(small)
    for place, day in enumerate(summary["walk_forward"]["dates"][1:], start=1):
        other = small_project(tmp_path / f"other-{place}")
        cut = pd.Timestamp(day)
        for seed, ticker in enumerate(("AAA", "BBB", "CCC")):
            table = random_prices(700, seed)
            late = table.index >= cut
            table.loc[late] = table.loc[late] * np.linspace(1.03, 1.3, late.sum())[:, None]
            other.prices(ticker, table)
        other.run(LinearTrainer())
        other.simulate(retrain=retrain, trainer=LinearTrainer())
        after = kept(other)
        early = {name for name in before if pd.Timestamp(name.rpartition("/")[2]) <= cut}
        assert {name: after[name] for name in early} == {name: before[name] for name in early}
        # a graph may stay the same: what has changed may lie in its validation rows alone
        assert all(mark(other, name) != mark(small, name) for name in before.keys() - early)
        assert all(mark(other, name) == mark(small, name) for name in early)
        columns = ["model", "session", "target_session", "predicted_close", "raw_predicted_close"]
        # the forecast for the day itself was made the evening before
        known = forecasts["target_session"] <= cut
        pd.testing.assert_frame_equal(forecasts.loc[known, columns], stitched(other).loc[known, columns])


def test_killed_between_two_models_it_goes_on_where_it_stopped(
    small: SmallProject, trained: SmallProject, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        small.simulate(retrain="monthly", trainer=LinearTrainer(interrupt_after=4))
    done = set(kept(small))
    assert 1 <= len(done) <= 4
    assert not (small.project.report("mine") / "summary.json").exists()
    rest = Jobs()
    summary, _ = small.simulate(retrain="monthly", trainer=rest)
    assert len(rest.asked) == 6 - len(done)
    assert not {f"main/{name}/{day}" for name, day in rest.asked} & done
    undisturbed = SmallProject(shutil.copytree(trained.root, tmp_path / "undisturbed"))
    assert undisturbed.simulate(retrain="monthly", trainer=LinearTrainer())[0] == summary
    assert kept(undisturbed) == kept(small)
    assert report_files(undisturbed) == report_files(small)


def test_a_damaged_or_changed_model_is_trained_again_and_no_other(small: SmallProject) -> None:
    small.simulate(retrain="monthly", trainer=LinearTrainer())
    before = kept(small)
    (small.project.walk_forward / "main" / "red-bbb" / MONTHS[1] / "model.onnx").write_bytes(b"no graph")
    trainer = Jobs()
    small.simulate(retrain="monthly", trainer=trainer)
    assert trainer.asked == [("red-bbb", MONTHS[1])]
    assert kept(small) == before
    prices = random_prices(700, 2)
    late = prices.index >= pd.Timestamp("2017-07-10")
    prices.loc[late] *= 1.05
    small.prices("CCC", prices)
    small.run(LinearTrainer())
    trainer = Jobs()
    small.simulate(retrain="monthly", trainer=trainer)
    assert trainer.asked == [("red-ccc", MONTHS[2])], "its rows before July are what they were"


def test_another_rhythm_shares_its_dates_and_removes_what_it_does_not_need(small: SmallProject) -> None:
    (small.root / "simulation" / "mine.yaml").write_text(f"start: {SCENARIO_START}\ndays: 150\n")
    monthly, quarterly = Jobs(), Jobs()
    small.simulate(retrain="monthly", trainer=monthly)
    small.simulate(retrain="quarterly", trainer=quarterly)
    assert quarterly.calls == [], "its dates are among the monthly ones"
    assert sorted(kept(small)) == [f"main/{name}/{day}" for name in NAMES for day in ("2017-07-03", "2017-10-02")]
    small.config("linear", f"team: red\ntickers: [AAA, BBB]\nfeatures: {FEATURES}\n")
    small.run(LinearTrainer())
    small.simulate(retrain="quarterly", trainer=LinearTrainer())
    assert {name.split("/")[1] for name in kept(small)} == {"red-aaa", "red-bbb"}
    assert not (small.project.walk_forward / "main" / "red-ccc").exists()


def test_every_n_sessions_and_a_period_without_a_second_date(small: SmallProject) -> None:
    trainer = Jobs()
    summary, _ = small.simulate(retrain=20, trainer=trainer)
    sessions = pd.read_parquet(small.project.report("mine") / "forecasts.parquet")["target_session"].unique()
    assert summary["walk_forward"]["dates"] == [str(day)[:10] for day in sessions[::20]]
    trainer = Jobs()
    summary, _ = small.simulate(retrain=1000, trainer=trainer)
    walk = summary["walk_forward"]
    assert trainer.calls == []
    assert (walk["dates"], walk["comparison"]) == ([SCENARIO_START], None)
    assert walk["models"] == summary["models"]
    assert "no date to retrain on" in "\n".join(result_lines(summary))


def test_a_model_that_cannot_be_retrained_is_left_out_and_named_and_tried_again(small: SmallProject) -> None:
    summary, report = small.simulate(retrain="monthly", trainer=LinearTrainer(refuse=("red-bbb",)))
    (failure,) = report.failures
    assert (failure.model, failure.stage, failure.exit_code, report.exit_code) == ("red-bbb", "simulate", 5, 9)
    assert f"retraining of {MONTHS[1]}: red-bbb: refused by the test" in failure.reason
    assert [entry["model"] for entry in summary["models"]] == NAMES
    walk = summary["walk_forward"]
    assert [entry["model"] for entry in walk["models"]] == ["red-aaa", "red-ccc"]
    assert [entry["model"] for entry in walk["left_out"]] == ["red-bbb"]
    assert set(stitched(small)["model"]) == {"red-aaa", "red-ccc"}
    noted = json.loads((small.project.report("mine") / "failures.json").read_text())
    assert [entry["model"] for entry in noted] == ["red-bbb"]
    assert "1 model is left out" in "\n".join(result_lines(summary))
    trainer = Jobs()
    summary, report = small.simulate(retrain="monthly", trainer=trainer)
    assert trainer.asked == [("red-bbb", day) for day in MONTHS[1:]]
    assert report.failures == []
    assert not (small.project.report("mine") / "failures.json").exists()


def test_a_trainer_that_does_not_start_leaves_the_frozen_report(small: SmallProject) -> None:
    class Broken(LinearTrainer):
        def fit(self, jobs: object, progress: object) -> Iterator[Fitted]:
            raise TrainingError("the training process did not start: no memory")
            yield  # a generator, as every trainer's fit is

    frozen, _ = small.simulate()
    summary, report = small.simulate(retrain="monthly", trainer=Broken())
    assert {failure.model: failure.exit_code for failure in report.failures} == dict.fromkeys(NAMES, 5)
    assert {key: summary[key] for key in frozen} == frozen
    assert summary["walk_forward"]["models"] == []
    assert "no model could be retrained" in "\n".join(result_lines(summary))
    result_table(summary)
    assert not (small.project.report("mine") / "forecasts_walk_forward.parquet").exists()
    small.config("drift", "team: base\ntickers: [AAA]\ntrainer: drift\n")
    small.run(LinearTrainer())
    summary, _ = small.simulate(retrain="monthly", trainer=Broken())
    assert [entry["model"] for entry in summary["walk_forward"]["models"]] == ["base-aaa"]


def test_baselines_are_retrained_too_and_not_shrunk(small: SmallProject) -> None:
    small.config("drift", "team: base\ntickers: [AAA]\ntrainer: drift\n")
    small.run(LinearTrainer())
    small.simulate(retrain="monthly", trainer=LinearTrainer())
    drifts = []
    for day in MONTHS[1:]:
        manifest = read_manifest(small.project.walk_forward / "main" / "base-aaa" / day)
        assert manifest.shrinkage == 1.0
        drifts.append(manifest.drift)
    assert len(set(drifts)) == 2


def test_a_pool_is_one_training_all_its_models_are_trained_where_one_is_missing(small: SmallProject) -> None:
    small.config("linear", f"team: red\ntickers: [AAA, BBB, CCC]\npool: true\nfeatures: {FEATURES}\n")
    small.run(LinearTrainer())
    small.simulate(retrain="monthly", trainer=LinearTrainer())
    before = kept(small)
    shutil.rmtree(small.project.walk_forward / "main" / "red-bbb" / MONTHS[1])
    trainer = Jobs()
    small.simulate(retrain="monthly", trainer=trainer)
    assert sorted(trainer.asked) == [(name, MONTHS[1]) for name in NAMES]
    assert kept(small) == before


def test_part_of_a_scenario_has_the_figures_of_the_whole_and_removes_nothing(small: SmallProject) -> None:
    part, report = small.simulate(only="red-b*", retrain="monthly", trainer=LinearTrainer())
    assert report.done == ["red-bbb"]
    assert len(kept(small)) == 6, "the others of its group share its shrinkage"
    trainer = Jobs()
    whole, _ = small.simulate(retrain="monthly", trainer=trainer)
    assert trainer.calls == []
    of_whole = [entry for entry in whole["walk_forward"]["models"] if entry["model"] == "red-bbb"]
    figures = ("model", "n", "mae", "mae_raw", "mae_drift", "shrinkage", "dm_p")
    assert [[entry[key] for key in figures] for entry in part["walk_forward"]["models"]] == [
        [entry[key] for key in figures] for entry in of_whole
    ]
    before = kept(small)
    small.simulate(only="red-a*", retrain=1000, trainer=trainer)
    assert kept(small) == before


def test_a_leak_that_only_retrained_models_learn_sets_off_the_alarm(small: SmallProject) -> None:
    for path in small.project.features("main").glob("*.parquet"):
        table = pd.read_parquet(path)
        noise = np.random.default_rng(3).normal(0, 1e-6, len(table))
        late = table["target_session"] >= pd.Timestamp("2017-01-01")
        leak = (0.005 * table["target"].fillna(0.0) + noise).where(late, noise)
        table.assign(return_5=leak).to_parquet(path)
    summary, _ = small.simulate(retrain=5, trainer=LinearTrainer())
    assert summary["alarm"]["sounded"]
    assert any(reason.startswith("walk-forward: ") for reason in summary["alarm"]["reasons"])


@pytest.mark.parametrize("value", ["daily", "0", "-3", "1.5", "true", "[monthly]", "'20'", ""])
def test_bad_values_are_refused_with_file_and_key(small: SmallProject, value: str) -> None:
    params = small.root / "params.yaml"
    params.write_text(params.read_text().replace("scenario: mine", f"scenario: mine, retrain: {value}"))
    with pytest.raises(
        ConfigError, match=r"params\.yaml: simulation\.retrain: expected never, monthly, quarterly, yearly or"
    ):
        _ = small.branch
