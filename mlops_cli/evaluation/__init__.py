"""Metrics, baselines and tests of significance as pure functions over one long frame of forecasts."""
