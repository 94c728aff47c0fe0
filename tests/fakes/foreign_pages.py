"""What browsers send with a request that a page of another site makes to a server on this machine."""

from __future__ import annotations

FOREIGN_PAGES = {
    "host": {"Host": "evil.com"},
    "rebinding": {"Host": "evil.com:PORT", "Origin": "http://evil.com:PORT", "Sec-Fetch-Site": "same-origin"},
    "origin": {"Origin": "http://evil.com"},
    "secure origin": {"Origin": "https://evil.com"},
    "opaque origin": {"Origin": "null"},
    "neighbour": {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    "no-cors": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "forwarded": {"Host": "evil.com", "X-Forwarded-Host": "localhost"},
    "empty host": {"Host": "", "Origin": "null"},
}
"""Headers by name of the attack; `PORT` stands for the server's port."""
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
"""A person follows a link on the page."""
