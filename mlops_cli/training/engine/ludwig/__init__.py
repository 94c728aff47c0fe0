"""Training of one model, or one pool, with Ludwig's own trainer."""
