"""The processes of `mlops serve`."""
