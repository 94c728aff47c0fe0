"""Turns bars and files that callers send into rows for the models, in time and memory bounded by their size."""
