"""Turns prices into feature tables. The functions are pure and vectorised, and never use later prices."""
