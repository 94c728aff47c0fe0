"""Dividends: where they are listed, when each was first seen, and which of them a forecast may use."""
