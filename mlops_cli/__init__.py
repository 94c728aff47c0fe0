"""Train, judge, serve and paper-trade next-day close forecasts for any number of stocks in one run."""

__version__ = "0.1.0"
