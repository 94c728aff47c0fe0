"""Replay of a scenario over held-out time, and its report."""
