"""Which models are served, from their folders, and what is known of each."""
