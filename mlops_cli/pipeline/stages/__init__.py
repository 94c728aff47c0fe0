"""Stages `ingest`, `featurize` and `train`, and what all stages share."""
