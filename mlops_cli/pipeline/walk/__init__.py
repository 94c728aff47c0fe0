"""Walk-forward: models that are retrained while a scenario goes on, beside the frozen models of stage `train`.

A *step* is one model retrained at one date; a *walk* is all steps of one branch.
"""
