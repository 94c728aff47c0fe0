"""The gap between the journal of a project and a replay with its models and feature tables of today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import pandas as pd

from mlops_cli.config.paths import Project
from mlops_cli.errors import MlopsError
from mlops_cli.live.journal.frames import frame_of
from mlops_cli.live.journal.gap import KEY, NONE, gap
from mlops_cli.live.journal.replaying import Replayer, replay_issued
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering_version, model_versions
from mlops_cli.pipeline.stages.stage import ItemFailure, Progress
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.system.parallel import each

STAGE = "gap"
_SIZE = 3  # a replay takes so many times as long as the usual work on an item


@dataclass(frozen=True)
class ProjectGap:
    """The gap of some forecasts: `table` as `gap.gap` gives it, and the models that could not be replayed."""

    table: pd.DataFrame
    failures: list[ItemFailure]


def project_gap(project: Project, issued: pd.DataFrame, last: Mapping[str, date], progress: Progress) -> ProjectGap:
    """Compare issued forecasts with those that the project's models give for the same sessions today.

    Args:
        project: whose models and feature tables.
        issued: of `frames.journal_frame`.
        last: by exchange, the last session to replay.
        progress: shows how far it is.
    """
    models = [rows for _, rows in issued.groupby(["branch", "model"], observed=True, sort=True)]
    progress.start(STAGE, len(models))
    replayed, failures = [frame_of([])], []
    for rows, result in zip(models, each(partial(_replay, project, last), models, _SIZE), strict=True):
        if isinstance(result, MlopsError):
            failures.append(ItemFailure(str(rows["model"].iloc[0]), STAGE, str(result), result.exit_code))
        else:
            replayed.append(result)
        progress.done()
    return ProjectGap(gap(issued, pd.concat(replayed, ignore_index=True)), failures)


def differing(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a gap that have a cause, as plain values: largest difference first, then those without one."""
    rows = table[table["cause"] != NONE]
    rows = rows.assign(size=rows["difference"].abs()).sort_values(["size", *KEY], ascending=[False, True, True, True])
    rows = rows.drop(columns="size").assign(session=rows["session"].dt.date)
    records: list[dict[str, Any]] = rows.astype(object).where(rows.notna(), None).to_dict("records")  # type: ignore[assignment]
    return records


def _replay(project: Project, last: Mapping[str, date], issued: pd.DataFrame) -> pd.DataFrame:
    """What one model gives today."""
    return replay_issued(
        issued,
        partial(_version, project),
        lambda branch, model: read_table(project.features(branch), model),
        last,
    )


def _version(project: Project, branch: str, name: str, version: str) -> Replayer | None:
    """The version, or the one that answers today if it is gone; None if the model is gone."""
    folders = model_versions(project.model_root, branch, name)
    if not folders:
        return None
    named = [folder for folder in folders if folder.version == version]
    folder = named[0] if named else answering_version(project.model_root, branch, name)
    return Replayer(folder.manifest, Model(folder.folder, folder.manifest).forecasts)
