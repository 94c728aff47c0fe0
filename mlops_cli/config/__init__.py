"""Schemas of the YAML files, loading them, and every path in the house."""
