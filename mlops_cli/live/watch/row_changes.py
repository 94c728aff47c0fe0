"""Whether the rows of a model's feature table are still those of its training, and whether newer ones are alike."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import MlopsError
from mlops_cli.features.column_names import ANNOUNCED, width_columns
from mlops_cli.live.health.input_drift import LEAST_ROWS, in_words, moved_features
from mlops_cli.models.manifest import Manifest
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.pipeline.stages.train_plan import model_rows, rows_hash, values_hash
from mlops_cli.system.parallel import each

FAR = 2.0
"""Inputs have moved if one of them is further from training than this many times its usual distance."""

PARTS = 20
"""The inputs of one in so many models are looked at after a session, at some 0.1 s each."""


@dataclass(frozen=True)
class Looked:
    """A model to look at.

    Attributes:
        label: its name in health.
        branch: without its models.
        newest: manifest of its newest version.
        age: sessions since that was trained.
    """

    label: str
    branch: Branch
    spec: ModelSpec
    newest: Manifest
    age: int


def rows_changed(project: Project, models: Sequence[Looked]) -> Iterator[bool]:
    """Whether the rows that each model was trained on have other values now; False where that cannot be said."""
    for result in each(partial(_rows_changed, project), models):
        yield result is True


def _rows_changed(project: Project, model: Looked) -> bool:
    day = model.newest.trained_until + timedelta(days=1)
    split, inputs = model_rows(project.features(model.branch.name), model.branch, day, model.spec)
    # versions from before a split was told from a correction noted the hash of all digits
    return model.newest.rows not in (values_hash(split, inputs), rows_hash(split, inputs))


def moved_inputs(project: Project, models: Sequence[Looked], session: date) -> dict[str, str]:
    """The models whose inputs are far from those of their training, by label, in words.

    Only a part of the models is looked at after each session, another one after the next. A model needs 20 rows that it
    was not trained on.
    """
    part = [model for model in models if model.age >= LEAST_ROWS and _is_in_part(model.label, session)]
    found: dict[str, str] = {}
    for model, words in zip(part, each(partial(_moved, project), part, size=6), strict=True):
        if words and not isinstance(words, MlopsError):
            found[model.label] = words
    return found


def _is_in_part(label: str, session: date) -> bool:
    return zlib.crc32(label.encode()) % PARTS == _number(session) % PARTS


def _number(session: date) -> int:
    """A number that rises by 1 from each weekday to the next."""
    weeks, day = divmod(session.toordinal() - 1, 7)  # day 1 is a Monday
    return 5 * weeks + min(day, 4)


def _moved(project: Project, model: Looked) -> str:
    table = read_table(project.features(model.branch.name), model.spec.name)
    if table is None:
        return ""
    newest = model.newest
    own = {ANNOUNCED, *width_columns(newest.levels)}  # columns that no training sees
    columns = [name for name in newest.inputs if name in table.columns and name not in own]
    days = pd.DatetimeIndex(table.index)
    training = table.loc[(days >= pd.Timestamp(newest.train.first)) & (days <= pd.Timestamp(newest.train.last))]
    recent = table.loc[days > pd.Timestamp(newest.trained_until)]
    far = [feature for feature in moved_features(training[columns], recent[columns]) if feature.times >= FAR]
    return in_words(far)
