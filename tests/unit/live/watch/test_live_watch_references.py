"""References: only forecasts that were out of sample, and a walk that goes on from version to version."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from mlops_cli.errors import MlopsError
from mlops_cli.live.health.state import Health, ModelHealth, Run, State
from mlops_cli.live.watch.reference_files import (
    FILE,
    Built,
    References,
    as_outcomes,
    no_references,
    read_references,
    write_references,
)
from mlops_cli.live.watch.references import KEPT, Evidence, rebuilt
from mlops_cli.live.watch.watched import judged_forecasts, watched_models
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering_version
from tests.fakes.watched_fleet import TRAINED, WatchedFleet

NAME, LABEL = "red-t0", "main/red-t0"


@pytest.fixture
def fleet(tmp_path) -> WatchedFleet:
    return WatchedFleet(tmp_path, models=1, sessions=900)


def build(
    fleet: WatchedFleet, until: int, stored: References | None = None, health: Health | None = None
) -> References:
    """The reference of the only model, up to the session of a row."""
    failures: dict[str, MlopsError] = {}
    models = watched_models(fleet.project, [fleet.branch], failures.__setitem__)
    issued = judged_forecasts(fleet.project.journal, models, None)
    evidence = Evidence(health or Health(), issued, fleet.day(until))
    made = rebuilt(fleet.project, list(models.values()), stored or no_references(), evidence, failures.__setitem__)
    assert failures == {}
    return made


def days(references: References) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(references.rows["target_session"])


def expected(fleet: WatchedFleet, first: int, last: int) -> pd.DatetimeIndex:
    """The sessions from the row `first` to `last`."""
    return pd.DatetimeIndex(fleet.table(NAME).index[first : last + 1])


def forecasts(fleet: WatchedFleet, targets: pd.DatetimeIndex, version: str) -> np.ndarray:
    """What a version forecasts for these target sessions."""
    root = fleet.project.model_root
    folders = [root / "main" / NAME, root / ".versions" / "main" / NAME / version]
    models = [Model.open(folder) for folder in folders if folder.is_dir()]
    (model,) = (model for model in models if model.manifest.version == version)
    table = fleet.table(NAME)
    rows = table[table["target_session"].isin(targets)]
    return rows["last_close"].to_numpy() * np.exp(model.log_returns(rows)[1])


class TestReplay:
    def test_it_begins_after_what_the_version_was_trained_on(self, fleet):
        fleet.prices_until(300)
        made = build(fleet, 300)
        assert days(made).equals(expected(fleet, TRAINED + 1, 300))
        assert made.built[LABEL] == Built(version=fleet.version(NAME), group="0123456789ab", until=fleet.day(300))

    def test_only_the_last_sessions_are_kept(self, fleet):
        fleet.prices_until(800)
        assert days(build(fleet, 800)).equals(expected(fleet, 801 - KEPT, 800))

    def test_no_session_after_the_last_one_that_is_asked_for(self, fleet):
        fleet.prices_until(300)
        assert days(build(fleet, 290)).equals(expected(fleet, TRAINED + 1, 290))

    def test_a_version_without_sessions_of_its_own_has_those_of_its_predecessor(self, fleet):
        first = fleet.version(NAME)
        second = fleet.train(NAME, 280)
        fleet.prices_until(300)
        made = build(fleet, 300)
        assert days(made).equals(expected(fleet, TRAINED + 1, 300))
        raw = made.rows["raw_predicted_close"].to_numpy()
        own = days(made) > pd.Timestamp(fleet.day(280))
        assert own.sum() == 20
        np.testing.assert_allclose(raw[own], forecasts(fleet, days(made)[own], second))
        np.testing.assert_allclose(raw[~own], forecasts(fleet, days(made)[~own], first))

    def test_versions_of_another_config_are_no_predecessors(self, fleet):
        fleet.train(NAME, 280, group="another")
        fleet.prices_until(300)
        assert days(build(fleet, 300)).equals(expected(fleet, 281, 300))

    def test_a_model_without_features_has_none(self, fleet):
        made = build(fleet, 300)
        assert made.rows.empty
        assert list(made.built) == [LABEL]

    def test_a_damaged_graph_is_a_failure_of_its_model(self, fleet):
        fleet.prices_until(300)
        (fleet.project.models("main") / NAME / "model.onnx").write_bytes(b"no graph")
        models = watched_models(fleet.project, [fleet.branch], print)
        failures: dict[str, MlopsError] = {}
        evidence = Evidence(Health(), judged_forecasts(fleet.project.journal, models, None), fleet.day(300))
        rebuilt(fleet.project, list(models.values()), no_references(), evidence, failures.__setitem__)
        assert list(failures) == [NAME]


class TestGoingOn:
    def test_issued_forecasts_come_before_replays(self, fleet):
        from dataclasses import replace

        fleet.prices_until(310)
        fleet.nights(300, 304, lambda f: replace(f, raw_predicted_close=f.raw_predicted_close * 1.001))
        made = build(fleet, 310)
        raw = made.rows["raw_predicted_close"].to_numpy()
        replayed = forecasts(fleet, days(made), fleet.version(NAME))
        issued = (days(made) > pd.Timestamp(fleet.day(300))) & (days(made) <= pd.Timestamp(fleet.day(305)))
        np.testing.assert_allclose(raw[~issued], replayed[~issued])
        np.testing.assert_allclose(raw[issued], replayed[issued] * 1.001)

    def test_a_retrained_model_keeps_its_reference_and_adds_the_sessions_since(self, fleet):
        fleet.prices_until(300)
        stored = build(fleet, 300)
        stored.rows["raw_predicted_close"] += 1.0  # so that it is seen whether they are kept
        fleet.nights(300, 309)
        second = fleet.train(NAME, 310)
        fleet.prices_until(310)
        made = build(fleet, 310, stored)
        assert days(made).equals(expected(fleet, TRAINED + 1, 310))
        pd.testing.assert_frame_equal(made.rows.head(len(stored.rows)), stored.rows)
        assert made.built[LABEL].version == second

    def test_sessions_without_a_pass_are_replayed(self, fleet):
        fleet.prices_until(300)
        stored = build(fleet, 300)
        fleet.nights(303, 309)
        fleet.train(NAME, 310)
        fleet.prices_until(310)
        assert days(build(fleet, 310, stored)).equals(expected(fleet, TRAINED + 1, 310))

    def test_the_walk_goes_on_where_the_folder_of_the_predecessor_is_gone(self, fleet):
        import shutil

        fleet.prices_until(300)
        stored = build(fleet, 300)
        fleet.nights(300, 309)
        fleet.train(NAME, 310)
        shutil.rmtree(fleet.project.model_root / ".versions" / "main" / NAME)
        assert days(build(fleet, 310, stored)).equals(expected(fleet, TRAINED + 1, 310))

    def test_another_config_begins_a_reference_of_its_own(self, fleet):
        fleet.prices_until(300)
        stored = build(fleet, 300)
        fleet.nights(300, 309)
        fleet.train(NAME, 310, group="another")
        fleet.prices_until(330)
        assert days(build(fleet, 330, stored)).equals(expected(fleet, 311, 330))


class TestBroken:
    def broken(self, fleet: WatchedFleet, version: str, began: date) -> Health:
        model = ModelHealth(version=version, state=State.BROKEN, since=began, run=Run(began=began, sessions=5))
        return Health(session=began, models={LABEL: model})

    def test_what_it_forecast_since_it_changed_is_left_out_for_ever(self, fleet):
        first = fleet.version(NAME)
        fleet.prices_until(300)
        stored = build(fleet, 300)
        fleet.nights(300, 319)
        fleet.train(NAME, 320)
        fleet.prices_until(320)
        made = build(fleet, 320, stored, self.broken(fleet, first, fleet.day(306)))
        assert days(made).equals(expected(fleet, TRAINED + 1, 305))
        fleet.nights(320, 329)
        fleet.train(NAME, 330)
        fleet.prices_until(330)
        later = build(fleet, 330, made)
        assert days(later).equals(expected(fleet, TRAINED + 1, 305).append(expected(fleet, 321, 330)))

    def test_an_alarm_of_another_version_leaves_out_nothing(self, fleet):
        fleet.prices_until(300)
        stored = build(fleet, 300)
        fleet.nights(300, 309)
        fleet.train(NAME, 310)
        made = build(fleet, 310, stored, self.broken(fleet, "another", fleet.day(303)))
        assert days(made).equals(expected(fleet, TRAINED + 1, 310))


class TestFiles:
    def test_they_come_back(self, fleet):
        fleet.prices_until(300)
        made = build(fleet, 300)
        write_references(fleet.project.live, made)
        again = read_references(fleet.project.live)
        pd.testing.assert_frame_equal(again.rows, made.rows)
        assert again.built == made.built

    @pytest.mark.parametrize("content", [None, b"", b"PAR1 no table", b"PAR1" * 100])
    def test_damaged_or_missing_ones_are_none(self, tmp_path, content):
        if content is not None:
            (tmp_path / FILE).write_bytes(content)
        made = read_references(tmp_path)
        assert (len(made.rows), made.built) == (0, {})

    def test_a_table_of_somebody_else_is_none(self, tmp_path):
        pd.DataFrame({"a": [1]}).to_parquet(tmp_path / FILE)
        assert read_references(tmp_path).built == {}


class TestShrinking:
    @pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
    def test_forecasts_are_those_of_the_shrinkage_that_is_judged(self, shrinkage):
        last, paid, network, base = 100.0, 0.01, 0.02, 0.001
        rows = pd.DataFrame(
            {
                "model": ["main/a"],
                "target_session": pd.to_datetime(["2024-01-05"]),
                "last_close": last,
                "raw_predicted_close": last * (np.exp(network) - paid),
                "base_predicted_close": last * (np.exp(base) - paid),
                "announced_dividend": last * paid,
                "actual_close": 101.0,
            }
        )
        built = {"main/a": Built(version="7", group="g", until=date(2024, 1, 5))}
        (row,) = as_outcomes(References(rows, built), {"main/a": shrinkage}).to_dict("records")
        total = base + shrinkage * (network - base)
        assert row["predicted_close"] == pytest.approx(last * (np.exp(total) - paid), rel=1e-12)
        assert (row["version"], row["actual_close"]) == ("7", 101.0)

    def test_of_the_own_version_they_are_what_it_forecasts(self, fleet):
        fleet.prices_until(300)
        version = answering_version(fleet.project.model_root, "main", NAME)
        made = as_outcomes(build(fleet, 300), {LABEL: version.manifest.shrinkage})
        table = fleet.table(NAME)
        rows = table[table["target_session"].isin(made["target_session"])]
        shrunk = Model(version.folder, version.manifest).log_returns(rows)[0]
        np.testing.assert_allclose(made["predicted_close"], rows["last_close"] * np.exp(shrunk))


class TestJudgedForecasts:
    def test_stale_ones_and_a_session_that_is_not_wholly_settled_are_left_out(self, tmp_path):
        fleet = WatchedFleet(tmp_path, models=2, sessions=400)
        fleet.nights(300, 301)
        fleet.issue(302)
        fleet.settle(302, but=("red-t1",))
        rows = judged_forecasts(fleet.project.journal, fleet.labels, None)
        assert sorted(set(rows["target_session"].dt.date)) == [fleet.day(301), fleet.day(302)]
        assert set(rows["model"]) == {"main/red-t0", "main/red-t1"}
        fleet.nights(303, 303)  # a later session has closes: the halted ticker is waited for no longer
        rows = judged_forecasts(fleet.project.journal, fleet.labels, fleet.day(302))
        assert sorted(zip(rows["model"], rows["target_session"].dt.date, strict=True)) == [
            ("main/red-t0", fleet.day(303)),
            ("main/red-t0", fleet.day(304)),
            ("main/red-t1", fleet.day(304)),
        ]

    def test_a_forecast_that_was_issued_after_the_close_is_left_out(self, fleet):
        from mlops_cli.live.journal.opening import open_journal

        fleet.nights(300, 300)
        with open_journal(fleet.project.journal) as journal:
            issued = next(iter(journal.forecasts())).forecast
        late = WatchedFleet(fleet.root / "late", models=1, sessions=400)
        with open_journal(late.project.journal) as journal:
            journal.issue([issued], late.evening(301))
        late.settle(300)
        assert judged_forecasts(late.project.journal, [LABEL], None).empty

    def test_without_a_journal_there_are_none(self, fleet):
        assert judged_forecasts(fleet.project.journal, [LABEL], None).empty


class TestWatchedModels:
    def test_models_that_are_not_trained_and_small_variants_are_not_watched(self, tmp_path):
        from dataclasses import replace

        from tests.fakes.train_jobs import model_spec

        fleet = WatchedFleet(tmp_path, models=1, sessions=200)
        small = model_spec("red-t0-small", small_of="red-t0")
        branch = replace(fleet.branch, models=(*fleet.branch.models, small, model_spec("red-new")))
        assert list(watched_models(fleet.project, [branch], print)) == [LABEL]

    def test_a_damaged_champion_is_a_failure(self, fleet):
        fleet.train(NAME, 300)
        (fleet.project.model_root / ".versions" / "main" / NAME / "champion.json").write_text("{")
        failures: dict[str, MlopsError] = {}
        assert watched_models(fleet.project, [fleet.branch], failures.__setitem__) == {}
        assert "damaged" in str(failures[NAME])
