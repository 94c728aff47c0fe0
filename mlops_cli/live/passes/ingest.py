"""Step `ingest`: new bars and dividends of all branches, and the feature tables that change with them."""

from __future__ import annotations

from mlops_cli.config.load import Branch
from mlops_cli.errors import MlopsError
from mlops_cli.live.passes.step import PassContext, StepOutcome
from mlops_cli.pipeline.stages.featurize import featurize
from mlops_cli.pipeline.stages.ingest import IngestSources, ingest


def ingest_step(context: PassContext) -> StepOutcome:
    """Fetch what is missing and build the features of what changed. A branch whose source is away stays as it was."""
    outcome = StepOutcome("ingest")
    for branch in context.branches.values():
        if context.dry_run:
            sources = ", ".join(sorted({spec.ticker for spec in branch.models})[:5])
            outcome.lines.append(f"{branch.name}: would ask {branch.source.kind} for new sessions of {sources} ...")
            outcome.unchanged += len(branch.models)
        else:
            _ingest(context, branch, outcome)
    return outcome


def _ingest(context: PassContext, branch: Branch, outcome: StepOutcome) -> None:
    try:
        sources = IngestSources(context.tools.prices(branch), context.tools.actions(branch), context.now)
        fetched = ingest(context.project, branch, sources, context.progress)
    except MlopsError as error:  # the features of the prices that are stored may be missing all the same
        outcome.lines.append(f"{branch.name}: {error.message}")
        for spec in branch.models:
            outcome.fail(spec.name, error)
        featurize(context.project, branch, context.progress)
        return
    built = featurize(context.project, branch, context.progress)
    outcome.done += len(set(fetched.done) | set(built.done))
    outcome.unchanged += len(set(built.unchanged) - set(fetched.done))
    outcome.lines += [f"{branch.name}: {note}" for note in fetched.notes]
    failures = {failure.model: failure for failure in [*built.failures, *fetched.failures]}
    outcome.extend(list(failures.values()))
