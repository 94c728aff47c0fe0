"""The stages together on generated prices: what is done, what is left alone, what is reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import ConfigError, DataError, ModelError, TrainingError
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.predict import Model
from mlops_cli.models.store import check_files
from mlops_cli.training.trainer import Fitted
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import FEATURES, SCENARIO_START, SmallProject, small_project


@pytest.fixture
def small(tmp_path: Path) -> SmallProject:
    return small_project(tmp_path / "p")


def contents(root: Path) -> dict[str, bytes]:
    """Every result file, by path."""
    folders = [root / "data" / "prices", root / "data" / "features", root / "models", root / "simulation"]
    return {str(path.relative_to(root)): path.read_bytes() for f in folders for path in f.rglob("*") if path.is_file()}


def test_a_run_trains_every_model_and_a_second_one_none(small: SmallProject) -> None:
    first, second = LinearTrainer(), LinearTrainer()
    reports = small.run(first)
    assert [report.exit_code for report in reports] == [0, 0, 0, 0]
    assert first.trained == ["red-aaa", "red-bbb", "red-ccc"]
    before = contents(small.root)
    reports = small.run(second)
    assert second.trained == []
    assert reports[2].unchanged == ["red-aaa", "red-bbb", "red-ccc"]
    assert contents(small.root) == before


def test_a_changed_config_retrains_that_model_only(small: SmallProject) -> None:
    small.config("one", f"team: blue\nticker: AAA\nfeatures: {FEATURES}\n")
    small.run(LinearTrainer())
    small.config("one", "team: blue\nticker: AAA\nfeatures: {returns: [1, 3]}\n")
    trainer = LinearTrainer()
    small.run(trainer)
    assert trainer.trained == ["blue-aaa"]


def test_an_added_ticker_trains_one_and_a_removed_one_is_gone(small: SmallProject) -> None:
    small.run(LinearTrainer())
    small.prices("DDD", random_prices(700, 9))
    small.config("linear", f"team: red\ntickers: [AAA, BBB, DDD]\nfeatures: {FEATURES}\n")
    trainer = LinearTrainer()
    small.run(trainer)
    assert trainer.trained == ["red-ddd"]
    found = sorted(path.name for path in small.project.models("main").iterdir())
    assert found == ["red-aaa", "red-bbb", "red-ddd"]
    assert not (small.project.features("main") / "red-ccc.parquet").exists()
    assert not (small.project.prices("main") / "CCC.parquet").exists()


def test_the_group_shares_one_shrinkage_written_into_graph_and_manifest(small: SmallProject) -> None:
    small.run(LinearTrainer())
    models = [Model.open(path) for path in sorted(small.project.models("main").iterdir())]
    (shrinkage,) = {model.manifest.shrinkage for model in models}
    assert shrinkage is not None
    assert 0 <= shrinkage <= 1
    for model in models:
        check_files(model.folder, model.manifest)
        table = pd.read_parquet(small.project.features("main") / f"{model.manifest.name}.parquet")
        forecasts, drift = model.forecasts(table), model.manifest.base_drift
        expected = drift + shrinkage * (forecasts.raw_log_return - drift)
        ordinary = (table["announced_dividend"] == 0).to_numpy()
        np.testing.assert_allclose(forecasts.log_return[ordinary], expected[ordinary], rtol=1e-6, atol=1e-9)
        assert np.std(forecasts.raw_log_return) > 0
        assert model.manifest.levels == (80.0, 95.0)
        half = np.diff(forecasts.interval, axis=1)[:, [0, 2]] / 2
        widths = model.manifest.width_factor * table[["width_80", "width_95"]].to_numpy()
        np.testing.assert_allclose(half[ordinary], widths[ordinary], rtol=1e-5)


def test_baselines_are_not_shrunk(small: SmallProject) -> None:
    small.config("drift", "team: base\ntickers: [AAA]\ntrainer: drift\n")
    small.run(LinearTrainer())
    manifest = read_manifest(small.project.models("main") / "base-aaa")
    assert manifest.shrinkage == 1.0
    assert manifest.facts["log_return"] == pytest.approx(manifest.drift, rel=1e-12)
    assert (manifest.base, manifest.levels) == ("none", (80.0, 95.0))


def test_a_fixed_shrinkage_is_used_and_changing_it_trains_nothing(small: SmallProject) -> None:
    small.run(LinearTrainer())
    params = small.root / "params.yaml"
    params.write_text(params.read_text().replace("min_sessions: 200", "min_sessions: 200, shrinkage: 0.25"))
    trainer = LinearTrainer()
    small.run(trainer)
    assert trainer.trained == []
    assert read_manifest(small.project.models("main") / "red-aaa").shrinkage == 0.25


def test_another_method_of_intervals_trains_nothing_and_other_levels_train_again(small: SmallProject) -> None:
    small.run(LinearTrainer())
    params = small.root / "params.yaml"
    before, graph = params.read_text(), small.project.models("main") / "red-aaa" / "model.onnx"
    table = small.project.features("main") / "red-aaa.parquet"
    widths, model = pd.read_parquet(table)["width_95"], graph.read_bytes()
    params.write_text(before + "intervals: {method: fleet}\n")
    trainer = LinearTrainer()
    small.run(trainer)
    assert (trainer.trained, graph.read_bytes()) == ([], model)
    assert not pd.read_parquet(table)["width_95"].equals(widths)
    frame = pd.read_parquet(small.project.evaluation("main") / "forecasts.parquet")
    inside = (frame["lower_95"] <= frame["actual_close"]) & (frame["actual_close"] <= frame["upper_95"])
    assert 0.85 <= inside.mean() <= 1.0
    params.write_text(before + "intervals: {levels: [90]}\n")
    small.run(trainer)
    assert sorted(trainer.trained) == ["red-aaa", "red-bbb", "red-ccc"]
    frame = pd.read_parquet(small.project.evaluation("main") / "forecasts.parquet")
    assert {"lower_90", "upper_90", "constant_90"} <= set(frame.columns)


def test_later_prices_change_neither_models_nor_earlier_forecasts(small: SmallProject, tmp_path: Path) -> None:
    tables = {ticker: random_prices(700, seed) for seed, ticker in enumerate(("AAA", "BBB", "CCC"))}
    cut = pd.Timestamp(SCENARIO_START) + pd.Timedelta(days=40)
    for ticker, table in tables.items():
        small.prices(ticker, table.loc[:cut])
    small.run(LinearTrainer())
    models = {path.name: (path / "model.onnx").read_bytes() for path in small.project.models("main").iterdir()}
    early = pd.read_parquet(small.project.evaluation("main") / "forecasts.parquet")
    for ticker, table in tables.items():
        small.prices(ticker, table)
    trainer = LinearTrainer()
    small.run(trainer)
    assert trainer.trained == []
    assert models == {path.name: (path / "model.onnx").read_bytes() for path in small.project.models("main").iterdir()}
    late = pd.read_parquet(small.project.evaluation("main") / "forecasts.parquet")
    pd.testing.assert_frame_equal(early, late.loc[late["target_session"] <= cut].reset_index(drop=True))
    assert len(late) > len(early)


def test_one_failing_item_does_not_stop_the_others_and_is_tried_again(small: SmallProject) -> None:
    small.config("linear", f"team: red\ntickers: [AAA, BBB, GONE]\nfeatures: {FEATURES}\n")
    reports = small.run(LinearTrainer(refuse=("red-bbb",)))
    assert [report.exit_code for report in reports] == [9, 9, 9, 9]
    noted = json.loads((small.project.evaluation("main") / "failures.json").read_text())
    assert [(item["model"], item["stage"], item["exit_code"]) for item in noted] == [
        ("red-bbb", "train", 5),
        ("red-gone", "ingest", 4),
    ]
    assert "GONE" in noted[1]["reason"]
    small.prices("GONE", random_prices(700, 5))
    trainer = LinearTrainer()
    reports = small.run(trainer)
    assert trainer.trained == ["red-bbb", "red-gone"]
    assert [report.exit_code for report in reports] == [0, 0, 0, 0]
    assert not (small.project.models("main") / "failures.json").exists()


def test_when_nothing_is_left_the_failures_own_code_is_given(small: SmallProject) -> None:
    small.config("linear", "team: red\ntickers: [GONE]\n")
    assert {report.exit_code for report in small.run(LinearTrainer())} == {4}


def test_a_short_history_is_refused_with_its_numbers(small: SmallProject) -> None:
    small.prices("BBB", random_prices(150, 1, start="2017-01-03"))
    report = small.run(LinearTrainer())[2]
    (failure,) = report.failures
    assert failure.model == "red-bbb"
    assert "history too short" in failure.reason
    assert "min_sessions asks for 200" in failure.reason


def test_an_interrupted_training_keeps_what_is_finished_and_ends_the_same(small: SmallProject, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        small.run(LinearTrainer(interrupt_after=2))
    trainer = LinearTrainer()
    small.run(trainer)
    assert trainer.trained == ["red-ccc"]
    undisturbed = small_project(tmp_path / "undisturbed")
    undisturbed.run(LinearTrainer())
    same = {k: v for k, v in contents(small.root).items() if k.startswith("models")}
    assert same == {k: v for k, v in contents(undisturbed.root).items() if k.startswith("models")}
    assert not list(small.project.staging("main").rglob("*"))


def test_an_unfinished_model_is_refused_until_training_goes_on(small: SmallProject) -> None:
    with pytest.raises(KeyboardInterrupt):
        small.run(LinearTrainer(interrupt_after=1))
    with pytest.raises(ModelError, match="not finished"):
        Model.open(small.project.models("main") / "red-aaa")


def test_only_touches_the_chosen_models(small: SmallProject) -> None:
    trainer = LinearTrainer()
    small.run(trainer, only="red-b*")
    assert trainer.trained == ["red-bbb"]
    assert not (small.project.prices("main") / "AAA.parquet").exists()
    with pytest.raises(ConfigError, match="no model of that name"):
        small.run(trainer, only="green-*")


def test_simulate_writes_figures_that_a_hand_recomputes(small: SmallProject) -> None:
    small.run(LinearTrainer())
    summary, report = small.simulate()
    assert report.failures == []
    folder = small.project.report("mine")
    frame = pd.read_parquet(folder / "forecasts.parquet")
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert frame["target_session"].min() == pd.Timestamp(SCENARIO_START)
    assert frame["target_session"].max() < pd.Timestamp(SCENARIO_START) + pd.Timedelta(days=90)
    for entry in summary["models"]:
        rows = frame[frame["model"] == entry["model"]]
        error = (rows["predicted_close"] - rows["actual_close"]).abs()
        naive = (rows["last_close"] - rows["actual_close"]).abs()
        assert entry["mae"] == pytest.approx(error.mean(), abs=1e-9)
        assert entry["mae_naive"] == pytest.approx(naive.mean(), abs=1e-9)
        assert entry["skill"] == pytest.approx(1 - error.mean() / naive.mean(), abs=1e-9)
        moved = (rows["actual_close"] != rows["last_close"]) & (rows["raw_predicted_close"] != rows["last_close"])
        right = np.sign(rows["raw_predicted_close"] - rows["last_close"]) == np.sign(
            rows["actual_close"] - rows["last_close"]
        )
        assert entry["direction_calls"] == moved.sum()
        assert entry["direction_accuracy"] == pytest.approx(right[moved].mean(), abs=1e-9)


def test_a_scenario_that_models_were_trained_into_is_refused(small: SmallProject) -> None:
    small.run(LinearTrainer())
    (small.root / "simulation" / "early.yaml").write_text("start: 2016-06-01\ndays: 30\n")
    with pytest.raises(ModelError, match="was trained on closes up to"):
        small.simulate("early")


def test_a_scenario_without_sessions_says_what_the_data_hold(small: SmallProject) -> None:
    small.run(LinearTrainer())
    (small.root / "simulation" / "late.yaml").write_text("start: 2027-06-01\ndays: 30\n")
    with pytest.raises(DataError, match="no session with a known close from 2027-06-01"):
        small.simulate("late")


def test_models_of_a_scenario_can_be_chosen(small: SmallProject) -> None:
    small.run(LinearTrainer())
    (small.root / "simulation" / "some.yaml").write_text(f"start: {SCENARIO_START}\ndays: 60\nmodels: [red-a*]\n")
    summary, _ = small.simulate("some")
    assert [entry["model"] for entry in summary["models"]] == ["red-aaa"]
    (small.root / "simulation" / "none.yaml").write_text(f"start: {SCENARIO_START}\nmodels: [green-*]\n")
    with pytest.raises(ModelError, match="names none"):
        small.simulate("none")


def test_a_damaged_feature_table_is_named_and_the_others_are_judged(small: SmallProject) -> None:
    small.run(LinearTrainer())
    path = small.project.features("main") / "red-bbb.parquet"
    path.write_bytes(b"PAR1 no more")
    summary, report = small.simulate()
    assert [entry["model"] for entry in summary["models"]] == ["red-aaa", "red-ccc"]
    (failure,) = report.failures
    assert "red-bbb.parquet: damaged" in failure.reason
    assert failure.exit_code == 4


def tamper(small: SmallProject, change: Callable[[pd.DataFrame], pd.DataFrame]) -> dict:
    """Change every feature table after featurize, train on it, and replay the scenario."""
    small.run(LinearTrainer())
    for path in small.project.features("main").glob("*.parquet"):
        change(pd.read_parquet(path)).to_parquet(path)
    trainer = LinearTrainer()
    small.run(trainer)
    assert len(trainer.trained) == 3
    return small.simulate()[0]


def test_a_planted_leak_sets_off_the_alarm(small: SmallProject) -> None:
    def leak(table: pd.DataFrame) -> pd.DataFrame:
        noise = np.random.default_rng(3).normal(0, 1e-6, len(table))
        return table.assign(return_5=0.005 * table["target"].fillna(0.0) + noise)

    summary = tamper(small, leak)
    assert summary["alarm"]["sounded"]
    assert all("direction" in reason or "MAE" in reason for reason in summary["alarm"]["reasons"])


def test_a_shuffled_target_shows_no_skill_and_no_alarm(small: SmallProject) -> None:
    def shuffle(table: pd.DataFrame) -> pd.DataFrame:
        known = table["target"].notna()
        returns = np.random.default_rng(4).permutation(table.loc[known, "target"])
        table.loc[known, "target"] = returns
        table.loc[known, "next_close"] = table.loc[known, "last_close"] * np.exp(returns)
        return table

    summary = tamper(small, shuffle)
    assert {entry["verdict"] for entry in summary["models"]} <= {"no skill", "worse than naive"}
    assert summary["pooled"]["verdict"] != "skill"
    assert not summary["alarm"]["sounded"]


def test_part_of_a_scenario_is_shown_and_the_report_of_all_stays(small: SmallProject) -> None:
    small.run(LinearTrainer())
    small.simulate()
    before = (small.project.report("mine") / "summary.json").read_bytes()
    summary, report = small.simulate(only="red-b*")
    assert [entry["model"] for entry in summary["models"]] == ["red-bbb"]
    assert report.done == ["red-bbb"]
    assert (small.project.report("mine") / "summary.json").read_bytes() == before


def test_a_model_of_an_earlier_training_has_no_say_in_the_shrinkage(small: SmallProject) -> None:
    small.run(LinearTrainer())
    scenario = small.root / "simulation" / "mine.yaml"
    scenario.write_text("start: 2017-02-01\ndays: 90\n")
    small.run(LinearTrainer(refuse=("red-bbb",)))
    stale = read_manifest(small.project.models("main") / "red-bbb")
    assert str(stale.trained_until) > "2017-02-01"
    without = small_project(small.root.parent / "without", tickers=("AAA", "CCC"))
    without.prices("CCC", random_prices(700, 2))
    (without.root / "simulation" / "mine.yaml").write_text("start: 2017-02-01\ndays: 90\n")
    without.run(LinearTrainer())
    for name in ("red-aaa", "red-ccc"):
        ours = read_manifest(small.project.models("main") / name).shrinkage
        assert ours == read_manifest(without.project.models("main") / name).shrinkage


def test_a_trainer_that_does_not_start_fails_its_own_models_only(small: SmallProject) -> None:
    class Broken(LinearTrainer):
        def fit(self, jobs: object, progress: object) -> Iterator[Fitted]:
            raise TrainingError("the training process did not start: no memory")
            yield  # a generator, as every trainer's fit is

    small.config("drift", "team: base\ntickers: [AAA]\ntrainer: drift\n")
    report = small.run(Broken())[2]
    assert report.done == ["base-aaa"]
    assert {failure.model: failure.exit_code for failure in report.failures} == {
        "red-aaa": 5,
        "red-bbb": 5,
        "red-ccc": 5,
    }
