"""From a request to an answer: models in memory, the queue, and what gives way under load."""
