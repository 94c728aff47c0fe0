"""What runs inside a training process, and nowhere else: torch and Ludwig, seconds and a gigabyte to import."""
