"""Training on request: what teams may ask for, how workers train it, and the desk at which servers take requests."""
