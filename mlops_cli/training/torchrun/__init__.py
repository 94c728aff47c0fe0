"""Training over several devices of this machine, started by torchrun."""
