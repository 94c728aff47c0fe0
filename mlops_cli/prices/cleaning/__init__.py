"""The cleaning rules. Each repairs, drops or refuses rows, and reports it."""
