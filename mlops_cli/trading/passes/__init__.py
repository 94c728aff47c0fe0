"""One pass of one team: reconcile, decide, send, and the switches that stop it."""
