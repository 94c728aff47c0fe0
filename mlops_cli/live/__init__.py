"""Live operation: what was forecast, how it went, and the training that is asked for, from day to day."""
