"""Stages `evaluate` and `simulate`: forecasts of sessions that the models never saw, and their figures."""
