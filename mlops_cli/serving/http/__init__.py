"""The data plane over HTTP: Open Inference Protocol v2 and forecasts for people."""
