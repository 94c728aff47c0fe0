"""From forecasts to orders, as pure functions."""
