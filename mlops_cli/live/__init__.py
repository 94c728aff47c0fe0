"""The nightly loop over live models: what was forecast, how it went, and what is done about it."""
