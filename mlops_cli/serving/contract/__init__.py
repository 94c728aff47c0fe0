"""What the data plane and the transports exchange."""
