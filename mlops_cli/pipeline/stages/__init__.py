"""The stages `ingest`, `featurize` and `train`, and the code that all stages share."""
