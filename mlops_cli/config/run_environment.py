"""Names of the environment variables that `mlops run`, and DVC, set for the stages that they start."""

from __future__ import annotations

RUN_KEY = "MLOPS_RUN_KEY"  # identifies the run in the tracker, so that all its stages are tracked together
RUN_PID = "MLOPS_RUN_PID"  # process id of `mlops run`: when that process is gone, its stages end too
STOP_NOTE = "MLOPS_STOP_NOTE"  # file in which a stage writes its error, because DVC does not pass exit codes on
WORKERS = "MLOPS_POOL"  # folder in which training processes write their addresses, so that later stages can use them
DVC_STAGE = "DVC_STAGE"  # set by DVC for every stage: the stage's name, such as train@main
