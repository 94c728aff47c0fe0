"""The cleaning rules: each repairs, drops or refuses rows, and says so."""
