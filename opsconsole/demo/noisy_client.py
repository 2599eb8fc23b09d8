"""A client that asks too often, from another address than a person at this machine: the limiter refuses part of it."""

from __future__ import annotations

import http.client
import sys
import time
from urllib.parse import urlsplit

# Of the addresses that documentation may use. The demo trusts loopback as a proxy, so this is who the client is.
ADDRESS = "203.0.113.7"
PATH = "/api/queue/customer-noisy"
# 180 a minute, where the policy "standard" admits 100.
SECONDS_BETWEEN = 1 / 3
TIMEOUT_SECONDS = 5.0
SECONDS_TO_TRY_AGAIN = 2.0


def ask(connection: http.client.HTTPConnection) -> int:
    """Ask once; the answer's status. Raises ``OSError`` or ``HTTPException`` when there is none."""
    try:
        connection.request("GET", PATH, headers={"X-Forwarded-For": ADDRESS})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        raise
    return answer.status


def main() -> None:
    """Ask the console at the address that is given, one request after the other, until the demo ends."""
    where = urlsplit(sys.argv[1])
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=TIMEOUT_SECONDS)
    while True:
        began = time.monotonic()
        try:
            ask(connection)
            pause = SECONDS_BETWEEN
        except (OSError, http.client.HTTPException):
            # It starts, or it is being restarted.
            pause = SECONDS_TO_TRY_AGAIN
        time.sleep(max(0.0, began + pause - time.monotonic()))


if __name__ == "__main__":
    main()
