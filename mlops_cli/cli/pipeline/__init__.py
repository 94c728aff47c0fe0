"""Commands that run the pipeline: `mlops run`, `simulate`, and one stage at a time."""
