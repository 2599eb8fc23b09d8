"""Requests as they arrive: bounded, and refused where two servers could read them differently."""

from __future__ import annotations

from waitress.parser import HTTPRequestParser
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge, RequestHeaderFieldsTooLarge

VERSIONS = {"1.0", "1.1"}
LENGTHS = {b"content-length", b"transfer-encoding"}


class URITooLong(Error):  # type: ignore[misc]  # waitress has no types
    code = 414
    reason = "URI Too Long"


class Overloaded(Error):  # type: ignore[misc]  # waitress has no types
    code = 503
    reason = "Service Unavailable"

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        status, headers, body = super().to_response(ident)
        return status, [*headers, ("Retry-After", "60")], body


class Request(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """A request that is being received. Once its head is refused, its body is not waited for."""

    # Of a request whose head could not be read.
    path = ""
    longest_line: int
    most_fields: int

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        line, *fields = header_plus.rstrip(b"\r\n").split(b"\r\n")
        if error := self._error_in_line(line) or self._error_in_fields(fields):
            self.error = error
            self.body_rcv = None
            self.content_length = 0
            self.expect_continue = False

    def _error_in_line(self, line: bytes) -> Error | None:
        if len(line) > self.longest_line:
            return URITooLong(f"The request line is longer than {self.longest_line} bytes.")
        if not self.command or self.version not in VERSIONS:
            return BadRequest("The request line is not that of HTTP/1.1.")
        return None

    def _error_in_fields(self, fields: list[bytes]) -> Error | None:
        if len(fields) > self.most_fields:
            return RequestHeaderFieldsTooLarge(f"There are more than {self.most_fields} header fields.")
        if any(field.startswith((b" ", b"\t")) for field in fields):
            return BadRequest("A header field continues on another line.")
        lengths = [name for field in fields if (name := field.partition(b":")[0].lower()) in LENGTHS]
        if len(lengths) > 1 or (lengths == [b"transfer-encoding"] and not self.chunked):
            # Where a proxy would believe the other field, the next request could hide in this one's body.
            return BadRequest("The length of the body is ambiguous.")
        if not self.headers.get("CONTENT_LENGTH", "0").isdecimal():
            return BadRequest("Content-Length is not a number.")
        if self.content_length >= self.adj.max_request_body_size:
            return RequestEntityTooLarge("The body is larger than the console accepts.")
        return None
