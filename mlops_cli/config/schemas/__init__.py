"""The schemas of the YAML files, as frozen pydantic models."""
