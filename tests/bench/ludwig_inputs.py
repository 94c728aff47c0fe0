"""Write the inputs that the pipeline gives to Ludwig as files for `ludwig train`.

`python -m tests.bench.ludwig_inputs PROJECT OUT [NUMBER]` writes `<model>.csv` and `<model>.yaml` for every model of
the branch main, or for the first NUMBER. It is a process of its own because the pipeline's functions import Ludwig.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from mlops_cli.config.load import load_branch, load_params, load_scenario
from mlops_cli.config.paths import Project
from mlops_cli.pipeline.stages.train_plan import plan_model
from mlops_cli.training.ludwig_config import build_config
from mlops_cli.training.rows import training_rows
from mlops_cli.training.trainer import TrainJob


def main(root: Path, out: Path, number: int | None = None) -> None:
    """Write both files of every model, or of the first few."""
    project = Project.at(root)
    branch = load_branch(project, load_params(project), "main")
    start = load_scenario(project, branch.scenario).start
    folder = project.features(branch.name)
    for spec in branch.models[:number]:
        plan = plan_model(folder, branch, start, spec, None)
        table = folder / f"{spec.name}.parquet"
        job = TrainJob(spec, table, plan.network_inputs, plan.validation.first, start, branch.seed, out)
        training_rows(job).to_csv(out / f"{spec.name}.csv", index=False)
        (out / f"{spec.name}.yaml").write_text(yaml.safe_dump(build_config(spec, plan.network_inputs), sort_keys=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
