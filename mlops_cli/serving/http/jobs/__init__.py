"""Training on request over HTTP."""
