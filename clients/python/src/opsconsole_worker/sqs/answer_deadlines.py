"""The time that an answer of SQS may take as a whole: botocore's own limit counts anew for each piece that comes.

An answer that comes byte by byte would keep its call, and whatever waits for it, for ever.
"""

from __future__ import annotations

import io
import socket
from http.client import HTTPResponse
from time import monotonic
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

from opsconsole_worker.sqs.message_types import LONGEST_POLL_SECONDS

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

# From the end of the request to the end of the answer, which a long poll keeps waiting on purpose.
SECONDS = LONGEST_POLL_SECONDS + 5.0


class _Until(io.RawIOBase):
    """What comes over a connection until a time; raises ``TimeoutError`` afterwards."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, until: float) -> None:
        super().__init__()
        self._raw, self._connection, self._until = raw, connection, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError("the answer did not end in time")
        usual = self._connection.gettimeout()
        self._connection.settimeout(left if usual is None else min(usual, left))
        try:
            return self._raw.readinto(buffer)
        finally:
            # The connection is used again.
            self._connection.settimeout(usual)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    """An answer that must end in time, its headers included."""

    def __init__(self, connection: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(connection, *args, **options)
        until = _Until(self.fp.detach(), connection, monotonic() + SECONDS)
        self.fp = io.BufferedReader(until)


class _Connection(AWSHTTPConnection):
    response_class: Any = _Response


class _SecureConnection(AWSHTTPSConnection):
    response_class: Any = _Response


class _Pool(AWSHTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(AWSHTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def limit(client: SQSClient) -> None:
    """Let each answer to this client end in time: a call then fails as one without an answer."""
    inside: Any = client
    session = inside._endpoint.http_session  # noqa: SLF001 - botocore has no setting for it; a test holds that it works
    pools = {"http": _Pool, "https": _SecurePool}
    # For the connections through proxies, and for those without.
    session._pool_classes_by_scheme = pools  # noqa: SLF001 - as above
    session._manager.pool_classes_by_scheme = pools  # noqa: SLF001 - as above
