"""Edits the user's YAML files without losing comments."""
