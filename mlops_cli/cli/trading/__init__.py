"""Commands of paper trading: passes, halts, ledgers, timers and the local exchange."""
