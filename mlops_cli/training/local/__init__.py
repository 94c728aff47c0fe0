"""Training in processes on this machine."""
