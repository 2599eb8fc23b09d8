"""A client that sends too many requests, from an address of its own, so that the limiter refuses some of them."""

from __future__ import annotations

import http.client
import sys
import time
from urllib.parse import urlsplit

# An address reserved for documentation. The demo trusts loopback as a proxy, so this becomes the client's address.
ADDRESS = "203.0.113.7"
PATH = "/api/queue/customer-noisy"
# 180 requests per minute, where the policy "standard" admits 100.
SECONDS_BETWEEN = 1 / 3
TIMEOUT_SECONDS = 5.0
SECONDS_TO_TRY_AGAIN = 2.0


def ask(connection: http.client.HTTPConnection) -> int:
    """Send one request and return the status. Raise ``OSError`` or ``HTTPException`` when there is no answer."""
    try:
        connection.request("GET", PATH, headers={"X-Forwarded-For": ADDRESS})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        raise
    return answer.status


def main() -> None:
    """Send requests to the console at the given address, one after the other, until the demo ends."""
    where = urlsplit(sys.argv[1])
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT_SECONDS)
    while True:
        began = time.monotonic()
        try:
            ask(connection)
            pause = SECONDS_BETWEEN
        except (OSError, http.client.HTTPException):
            # The console is starting or restarting.
            pause = SECONDS_TO_TRY_AGAIN
        time.sleep(max(0.0, began + pause - time.monotonic()))


if __name__ == "__main__":
    main()
