"""How jobs are cut into tasks: every job once, pools whole, the longest first."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.training.tasks import (
    ALONE_SECONDS_PER_ROW,
    FLEET_SECONDS_PER_ROW,
    FLEET_TASK,
    LUDWIG_EPOCHS,
    FleetSettings,
    Task,
    split_into_tasks,
)
from mlops_cli.training.trainer import TrainJob
from tests.fakes.train_jobs import model_spec

TOGETHER, ALONE, CUDA = FleetSettings(), FleetSettings(together=False), FleetSettings(device="cuda")
ROWS = (10, 20, 50)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Feature tables by their number of rows; 0 is a file that is not there."""
    folder = tmp_path_factory.mktemp("tables")
    for rows in ROWS:
        pd.DataFrame({"x": range(rows)}).to_parquet(folder / f"{rows}.parquet")
    return {0: folder / "missing.parquet", **{rows: folder / f"{rows}.parquet" for rows in ROWS}}


def job(table: Path, name: str, **changes: object) -> TrainJob:
    spec = model_spec(name, **changes)
    return TrainJob(spec, table, ("x",), date(2020, 1, 2), date(2021, 1, 4), 7, Path("models") / name)


def epochs(number: object) -> dict[str, object]:
    return {"trainer": {"epochs": number}}


def names(tasks: list[Task]) -> list[list[str]]:
    return [[job.spec.name for job in task.jobs] for task in tasks]


@st.composite
def collections(draw: st.DrawFn) -> list[tuple[int, int, str]]:
    """(rows, epochs, pool or "") of every job."""
    one_job = st.tuples(st.sampled_from((0, *ROWS)), st.integers(1, 5), st.sampled_from(["", "", "p", "q"]))
    return draw(st.lists(one_job, max_size=80))


@given(collections(), st.sampled_from([TOGETHER, ALONE, CUDA]), st.integers(1, 4))
@settings(max_examples=40)
def test_every_job_is_in_one_task_pools_are_whole_and_the_longest_comes_first(
    tables: dict[int, Path], drawn: list[tuple[int, int, str]], how: FleetSettings, devices: int
):
    jobs = [
        job(tables[rows], f"{pool}-{number}", file="configs/p.yaml", ludwig=epochs(1), pool=(pool,))
        if pool
        else job(tables[rows], f"job-{number}", ludwig=epochs(turns))
        for number, (rows, turns, pool) in enumerate(drawn)
    ]
    tasks = split_into_tasks(jobs, how, devices)
    assert sorted(name for task in names(tasks) for name in task) == sorted(job.spec.name for job in jobs)
    assert [task.seconds for task in tasks] == sorted((task.seconds for task in tasks), reverse=True)
    assert all(task.settings == how for task in tasks)
    for task in tasks:
        assert len({(one.spec.pool, str(one.spec.ludwig)) for one in task.jobs}) == 1
        if how is not CUDA and not task.jobs[0].spec.pool:
            assert len(task.jobs) <= (FLEET_TASK if how.together else 1)
    pools = [task.jobs[0].spec.pool for task in tasks if task.jobs[0].spec.pool]
    assert len(pools) == len(set(pools))


def test_a_fleet_is_cut_into_pieces_of_even_length_for_the_gpus(tables):
    jobs = [job(tables[10], f"job-{number:02d}") for number in range(70)]
    assert [len(task.jobs) for task in split_into_tasks(jobs, CUDA, 3)] == [24, 24, 22]
    assert [len(task.jobs) for task in split_into_tasks(jobs, TOGETHER, 3)] == [32, 32, 6]


def test_the_jobs_with_most_rows_come_first_then_the_names(tables):
    jobs = [job(tables[rows], name) for rows, name in ((10, "b"), (50, "c"), (10, "a"), (20, "d"))]
    assert names(split_into_tasks(jobs, TOGETHER, 1)) == [["c", "d", "a", "b"]]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"inputs": ("y",)},
        {"spec": model_spec("b", target="close")},
        {"spec": model_spec("b", ludwig=epochs(3))},
    ],
)
def test_jobs_that_differ_in_their_architecture_are_not_in_one_task(tables, change):
    first = job(tables[10], "a")
    assert len(split_into_tasks([first, replace(job(tables[10], "b"), **change)], TOGETHER, 1)) == 2


@pytest.mark.parametrize("change", [{"ticker": "B"}, {"team": "blue"}, {"file": "configs/b.yaml"}])
def test_the_stock_and_the_team_are_no_part_of_the_architecture(tables, change):
    assert len(split_into_tasks([job(tables[10], "a"), job(tables[10], "b", **change)], TOGETHER, 1)) == 1


@pytest.mark.parametrize(
    ("ludwig", "expected"),
    [
        (epochs(3), 3),
        ({}, LUDWIG_EPOCHS),
        ({"trainer": {}}, LUDWIG_EPOCHS),
        ({"trainer": None}, LUDWIG_EPOCHS),
        (epochs("three"), LUDWIG_EPOCHS),
        (epochs(2.5), LUDWIG_EPOCHS),
    ],
)
def test_the_time_is_estimated_by_rows_and_epochs_whatever_the_config_holds(tables, ludwig, expected):
    (task,) = split_into_tasks([job(tables[20], "a", ludwig=ludwig)], TOGETHER, 1)
    assert task.seconds == pytest.approx(20 * expected * ALONE_SECONDS_PER_ROW)


def test_a_fleet_takes_less_time_per_row(tables):
    jobs = [job(tables[20], name, ludwig=epochs(5)) for name in "ab"]
    (task,) = split_into_tasks(jobs, TOGETHER, 1)
    assert task.seconds == pytest.approx(2 * 20 * 5 * FLEET_SECONDS_PER_ROW)


def test_a_table_that_cannot_be_read_counts_as_empty(tables, tmp_path):
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"this is no parquet file")
    tasks = split_into_tasks([job(damaged, "a"), job(tables[0], "b"), job(tmp_path, "c")], ALONE, 1)
    assert [task.seconds for task in tasks] == [0.0, 0.0, 0.0]


def test_a_task_splits_into_its_jobs_and_shares_the_time(tables):
    jobs = tuple(job(tables[10], name) for name in "abcd")
    alone = Task(jobs, TOGETHER, 8.0).alone()
    assert names(alone) == [["a"], ["b"], ["c"], ["d"]]
    assert [task.seconds for task in alone] == [2.0] * 4


def test_a_pool_does_not_split(tables):
    task = Task(tuple(job(tables[10], name, pool=("A", "B")) for name in "ab"), TOGETHER, 8.0)
    assert task.alone() == [task]
