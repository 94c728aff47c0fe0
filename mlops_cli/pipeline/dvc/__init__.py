"""Running the stages through DVC."""
