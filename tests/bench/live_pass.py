"""`python -m tests.bench.live_pass PROJECT TIME OUT [STEP ...]`: a pass of `mlops live` as if it began at TIME.

Only the clock differs from the command: a benchmark cannot wait for the next close. It writes the result of each step
and its seconds to OUT as JSON, and ends as the command does when a step or a model failed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from mlops_cli import live_wiring
from mlops_cli.cli.progress import ConsoleProgress
from mlops_cli.config.load import load_branches, load_params
from mlops_cli.config.paths import Project
from mlops_cli.live.passes.live_pass import chosen_steps, run_pass
from mlops_cli.live.passes.step import PassContext, Step, StepOutcome


def main(root: Path, now: datetime, out: Path, only: Sequence[str]) -> int:
    """Run the pass; returns its exit code."""
    project = Project.at(root)
    params = load_params(project)
    branches = load_branches(project, params)
    tools = live_wiring.pass_tools(project, params, branches, dry_run=False)
    seconds: dict[str, float] = {}

    def timed(name: str, step: Step) -> Step:
        def run(context: PassContext) -> StepOutcome:
            began = time.perf_counter()
            try:
                return step(context)
            finally:
                seconds[name] = time.perf_counter() - began

        return run

    steps = {name: timed(name, step) for name, step in chosen_steps(only, ()).items()}
    with ConsoleProgress() as progress:
        result = run_pass(PassContext(project, params, branches, now, tools, progress), steps)
    outcomes = {outcome.step: asdict(outcome) for outcome in result.outcomes}
    out.write_text(json.dumps({"seconds": seconds, "steps": outcomes}, default=str))
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
