"""Schemas of the YAML files, how they are loaded, and the paths of a project."""
