"""A paper exchange of our own that speaks Alpaca's API: engine, accounts, faults, HTTP."""
