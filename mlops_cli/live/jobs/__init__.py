"""The queue of training jobs: who asked for which model, who trains it now, and what became of it."""
