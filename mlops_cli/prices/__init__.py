"""Price sources, cleaning rules, and the checked price table."""
