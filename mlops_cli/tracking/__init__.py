"""What was trained, from which code and data, and how good it was: kept outside this program, never needed by it."""
