"""Replays of the nightly pass over a past period: the same steps, evening by evening, in a project of their own."""
