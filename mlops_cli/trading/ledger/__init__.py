"""The ledger: what a team decided, sent, and got, in SQLite."""
