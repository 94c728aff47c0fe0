"""Changing YAML files on a user's behalf, with their comments kept."""
