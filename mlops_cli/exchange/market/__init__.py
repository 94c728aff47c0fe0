"""The prices at which the exchange trades."""
