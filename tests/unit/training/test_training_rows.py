"""Which rows of a feature table a model sees, and in which form Ludwig reads them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.training.rows import RowSplit, read_rows, training_rows
from mlops_cli.training.trainer import TrainJob
from tests.fakes.train_jobs import model_spec

SESSIONS = pd.bdate_range("2020-01-01", periods=10)
STEPS = ("history_3", "history_2", "history_1")
VALIDATION, END = SESSIONS[5].date(), SESSIONS[8].date()


def table(**columns: object) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "return_1": np.arange(10) / 100,
            **{name: np.arange(10) + number / 10 for number, name in enumerate(STEPS)},
            "target": np.arange(10) / 1000,
            "target_session": [*SESSIONS[1:], SESSIONS[-1] + pd.Timedelta(days=1)],
            **columns,
        },
        index=SESSIONS,
    )
    rows.index.name = "session"
    return rows


def job(
    folder: Path, rows: pd.DataFrame | None = None, inputs: tuple[str, ...] = ("return_1",), **spec: object
) -> TrainJob:
    features = folder / "features.parquet"
    (table() if rows is None else rows).to_parquet(features)
    return TrainJob(model_spec(**spec), features, inputs, VALIDATION, END, 7, folder)


def test_a_row_whose_target_is_on_the_first_held_out_day_is_not_read(tmp_path):
    rows = read_rows(job(tmp_path))
    assert rows["target_session"].max() == SESSIONS[7]
    assert list(rows.index) == list(SESSIONS[:7])


def test_a_row_without_a_target_is_not_read(tmp_path):
    target = np.arange(10) / 1000
    target[[0, 3]] = np.nan
    assert list(read_rows(job(tmp_path, table(target=target))).index) == [SESSIONS[at] for at in (1, 2, 4, 5, 6)]


@pytest.mark.parametrize(("rows", "unseen"), [(252, 126), (21, 11), (20, 10), (19, 19), (1, 1)])
def test_the_later_half_of_the_validation_rows_chooses_the_shrinkage_of_a_model_with_a_base(rows, unseen):
    sessions = pd.DataFrame({"x": np.arange(300.0)}, index=pd.bdate_range("2020-01-01", periods=300))
    split = RowSplit(train=sessions.iloc[:-rows], validation=sessions.iloc[-rows:])
    assert split.unseen_validation["x"].tolist() == sessions["x"].tolist()[-unseen:]


@pytest.mark.parametrize("content", [None, b"", b"this is no parquet file"])
def test_a_table_that_cannot_be_read_is_named(tmp_path, content):
    broken = job(tmp_path)
    broken.features.unlink()
    if content is not None:
        broken.features.write_bytes(content)
    with pytest.raises(DataError, match=r"^red-acme: .*features\.parquet cannot be read") as refusal:
        training_rows(broken)
    assert refusal.value.hint == "run: mlops featurize"


def test_ludwig_reads_inputs_target_and_split_alone(tmp_path):
    rows = training_rows(job(tmp_path))
    assert list(rows.columns) == ["return_1", "target", "split"]
    assert list(rows.index) == list(range(7))
    assert rows["return_1"].dtype == rows["target"].dtype == np.float32


def test_rows_from_the_first_validation_session_on_validate(tmp_path):
    assert list(training_rows(job(tmp_path))["split"]) == [0, 0, 0, 0, 0, 1, 1]


def test_the_history_is_one_text_oldest_first(tmp_path):
    rows = training_rows(job(tmp_path, inputs=("return_1", *STEPS)))
    assert list(rows.columns) == ["return_1", "target", "history", "split"]
    assert rows["history"].iloc[2] == "2 2.0999999 2.20000005"


def test_gaps_of_the_inputs_are_kept(tmp_path):
    values = np.arange(10) / 100
    values[2] = np.nan
    assert list(training_rows(job(tmp_path, table(return_1=values)))["return_1"].isna()) == [at == 2 for at in range(7)]


def test_rows_of_a_pool_say_their_ticker(tmp_path):
    rows = training_rows(job(tmp_path, pool=("ACME", "BBB"), ticker="ACME"))
    assert set(rows["ticker"]) == {"ACME"}
    assert "ticker" not in training_rows(job(tmp_path))


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=7, max_size=7))
@settings(max_examples=40)
def test_the_text_of_the_history_keeps_every_bit(tmp_path_factory, values: list[float]):
    folder = tmp_path_factory.mktemp("rows")
    rows = table(history_1=np.array([*values, 0, 0, 0], np.float32))
    parsed = [
        np.float32(text.split()[-1]) for text in training_rows(job(folder, rows, ("return_1", *STEPS)))["history"]
    ]
    assert parsed == [np.float32(value) for value in values]


def test_no_rows_are_no_error(tmp_path):
    early = job(tmp_path)
    rows = training_rows(TrainJob(early.spec, early.features, early.inputs, VALIDATION, date(2019, 1, 1), 7, tmp_path))
    assert len(rows) == 0
    assert list(rows.columns) == ["return_1", "target", "split"]
