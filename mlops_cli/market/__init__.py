"""Facts about exchanges that every room may need: sessions, opening hours, symbols."""
