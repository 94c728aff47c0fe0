"""Step `issue`: the forecasts of the next session are written into the journal, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import DataError, MlopsError, bounded
from mlops_cli.live.journal.journal import Journal
from mlops_cli.live.journal.making import newest_forecast
from mlops_cli.live.journal.opening import open_journal, read_journal
from mlops_cli.live.journal.records import Forecast, Key, Refusal
from mlops_cli.live.journal.staleness import premature
from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering_version
from mlops_cli.pipeline.stages.stage import ItemFailure
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.system.parallel import each


@dataclass(frozen=True)
class _Item:
    """A model, and the last session that its exchange has finished."""

    branch: str
    spec: ModelSpec
    session: date

    @property
    def key(self) -> Key:
        return Key(self.session, self.branch, self.spec.name)


def issue_step(context: PassContext) -> StepOutcome:
    """Forecast with the version of each model that answers, from the row of the last finished session.

    Models whose prices are not up to date issue nothing: the close that they would forecast is known.
    """
    outcome = StepOutcome("issue")
    items = list(_items(context))
    with _opened(context) as journal:
        issued = journal.issued({item.session for item in items}) if journal else set()
        todo = [item for item in items if item.key not in issued]
        outcome.unchanged = len(items) - len(todo)
        forecasts = list(_forecasts(context, todo, outcome))
        early = premature(forecasts, context.now)
        _refuse(early, outcome)
        refused = {refusal.key for refusal in early}
        usable = [forecast for forecast in forecasts if forecast.key not in refused]
        if context.dry_run or journal is None:
            outcome.done = len(usable)
        elif usable:
            report = journal.issue(usable, context.now)
            outcome.done = report.issued
            outcome.unchanged += report.unchanged
            _refuse(report.refused, outcome)
    targets = sorted({str(forecast.target_session) for forecast in usable})
    outcome.figures["targets"] = targets
    if targets:
        outcome.lines.append(f"{outcome.done} forecasts for {', '.join(targets)}")
    return outcome


@contextmanager
def _opened(context: PassContext) -> Iterator[Journal | None]:
    """The journal; in a dry run for reading, or None where there is none yet."""
    path = context.project.journal
    if not context.dry_run:
        with open_journal(path) as journal:
            yield journal
    elif path.is_file():
        with read_journal(path) as journal:
            yield journal
    else:
        yield None


def _items(context: PassContext) -> Iterator[_Item]:
    """All models but small variants, which only replace others under load."""
    for branch in context.branches.values():
        for spec in branch.models:
            if spec.small_of is None:
                yield _Item(branch.name, spec, context.last_session(spec.exchange))


def _forecasts(context: PassContext, items: Sequence[_Item], outcome: StepOutcome) -> Iterator[Forecast]:
    """The forecasts of these models; late and failed ones go into the outcome."""
    context.progress.start("issue", len(items))
    late: list[str] = []
    for item, result in zip(items, each(partial(_forecast, context.project), items), strict=True):
        if isinstance(result, Forecast):
            yield result
        elif isinstance(result, MlopsError):
            outcome.fail(item.spec.name, result)
        else:
            late.append(f"{item.spec.name} ({result})")
            if not context.dry_run:  # which fetches nothing
                outcome.failures.append(ItemFailure(item.spec.name, "issue", f"{item.spec.name}: {result}", 4))
        context.progress.done()
    if late:
        text = f"{len(late)} models issue nothing, because their prices are not up to date: {bounded(late)}"
        outcome.lines.append(text)
        if len(late) == len(items) and not outcome.unchanged:  # single tickers are told by step `check`
            outcome.troubles.append(Trouble("not issued", text, "mlops live, again later"))


def _forecast(project: Project, item: _Item) -> Forecast | str:
    """The newest forecast of a model, or why its data are not up to date."""
    spec = item.spec
    table = read_table(project.features(item.branch), spec.name)
    if table is None or table.empty:
        raise DataError(f"{spec.name}: no features", "run: mlops live, or mlops featurize")
    last = table.index[-1].date()
    if last != item.session:
        return f"prices end on {last}"
    version = answering_version(project.model_root, item.branch, spec.name)
    model = Model(version.folder, version.manifest)
    return newest_forecast(version.manifest, item.branch, table, model.forecasts)


def _refuse(refusals: Sequence[Refusal], outcome: StepOutcome) -> None:
    for refusal in refusals:
        reason = f"{refusal.key.model}: {refusal.reason}"
        outcome.failures.append(ItemFailure(refusal.key.model, "issue", reason, DataError.exit_code))
