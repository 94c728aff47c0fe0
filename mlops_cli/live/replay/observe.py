"""Looking at a project after a pass: which versions there are, which ones answered, and how healthy they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.errors import ModelError
from mlops_cli.live.journal.journal import Selection
from mlops_cli.live.journal.opening import read_journal
from mlops_cli.live.replay.notes import Observed
from mlops_cli.live.watch.states import read_states
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.versions import CHAMPION, archive
from mlops_cli.pipeline.stages.stage import read_note


def observe_start(project: Project, branches: Iterable[Branch]) -> Observed:
    """The state before the first pass: the versions of the pipeline, each of which answers."""
    versions = {}
    for branch in branches:
        for spec in branch.models:
            try:
                manifest = read_manifest(project.models(branch.name) / spec.name)
            except ModelError:
                continue  # not trained yet
            versions[f"{branch.name}/{spec.name}", manifest.version] = str(manifest.trained_until)
    return Observed(versions, dict(versions.keys()))


def observe(
    project: Project, branches: Mapping[str, Branch], session: date, known: Collection[tuple[str, str]]
) -> Observed:
    """The state after the pass of a session; `known` are the models and versions that were seen before."""
    versions = {}
    for branch in branches.values():
        for spec in branch.models:
            model = f"{branch.name}/{spec.name}"
            for folder in archive(project.model_root, branch.name, spec.name).glob("[!.]*/"):
                if (model, folder.name) not in known:
                    versions[model, folder.name] = str(read_manifest(folder).trained_until)
    return Observed(versions, _answers(project, session), _health(project), lambda model: _reason(project, model))


def _answers(project: Project, session: date) -> dict[str, str]:
    """By model, the version that issued the forecast of a session."""
    if not project.journal.is_file():
        return {}
    with read_journal(project.journal) as journal:
        issued = [each.forecast for each in journal.forecasts(Selection(first=session, last=session))]
    return {f"{forecast.branch}/{forecast.model}": forecast.version for forecast in issued}


def _health(project: Project) -> dict[str, tuple[str, str]]:
    health = read_states(project)
    fleet = (str(health.fleet.state), health.fleet.reason)
    return {"": fleet, **{name: (str(each.state), each.reason) for name, each in health.models.items()}}


def _reason(project: Project, model: str) -> str:
    branch, _, name = model.partition("/")
    note = read_note(archive(project.model_root, branch, name) / CHAMPION) or {}
    return str(note.get("why") or "")
