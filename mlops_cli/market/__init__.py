"""Facts about stock exchanges for all rooms: sessions, opening hours and symbols."""
