"""Trainer port, the Ludwig and baseline trainers, shrinkage and the exported graph."""
