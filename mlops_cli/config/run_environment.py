"""Names of the environment variables by which `mlops run` speaks to the stages it starts."""

from __future__ import annotations

RUN_KEY = "MLOPS_RUN_KEY"
"""Ties together what the stages of one run tell the tracker."""

RUN_PID = "MLOPS_RUN_PID"
"""The process of `mlops run`: when it is gone, its stages end too."""

STOP_NOTE = "MLOPS_STOP_NOTE"
"""File in which a stage leaves its error: DVC hands on no exit codes."""

POOL = "MLOPS_POOL"
"""Folder in which training processes leave their addresses, so that one stage after another finds them."""
