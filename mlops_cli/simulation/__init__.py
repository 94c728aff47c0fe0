"""Replays of a scenario over held-out time, and their report."""
