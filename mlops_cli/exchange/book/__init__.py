"""Accounts, orders and time: the exchange itself, without HTTP."""
