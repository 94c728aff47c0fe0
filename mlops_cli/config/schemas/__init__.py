"""What may stand in the YAML files, as frozen pydantic models."""
