"""What a finished model is on disk, which of its versions answers, and how it is run."""
