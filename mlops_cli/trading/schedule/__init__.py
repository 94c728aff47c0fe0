"""Timers for passes, and alerts to people."""
