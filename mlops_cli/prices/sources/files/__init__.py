"""Reads price files: text or parquet, in the layouts and notations that docs/data-sources.md lists."""
