"""Databases with the encoding SQL_ASCII, which keep whatever bytes they are given: a text there may be in any encoding.

Where a session asks for UTF-8, the server refuses the whole answer for one such text. So a session asks for the bytes, and
each text is read by itself: as UTF-8, with U+FFFD in place of what is not.
"""

from __future__ import annotations

import json
from typing import Any

from psycopg import Connection
from psycopg.abc import Query
from psycopg.adapt import Buffer, Loader
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.types.json import JsonbLoader, JsonLoader

ENCODING = "SQL_ASCII"
# INVALID_OID is that of all types without a loader of their own.
_UNKNOWN_TYPE = 0
_TEXTS = (_UNKNOWN_TYPE, "text", "varchar", "bpchar", "name", '"char"')
_DOCUMENTS = (types["json"].oid, types["jsonb"].oid)


class UnreadableText(str):
    """A text in another encoding, with U+FFFD in place of what can't be read. It can't stand for the text where that matters."""

    __slots__ = ()


def is_unchecked(session: Connection[Any]) -> bool:
    """Tell whether the database of this connection checks no encoding."""
    return session.info.parameter_status("server_encoding") == ENCODING


def read_each_by_itself(session: Connection[Any]) -> None:
    """Read each text of a session whose encoding is SQL_ASCII by itself; psycopg would return bytes."""
    for of_type in _TEXTS:
        session.adapters.register_loader(of_type, _TextLoader)
        session.adapters.register_loader(of_type, _BinaryTextLoader)
    for of_type in _DOCUMENTS:
        # Django parses the documents of one of the types itself.
        parses = session.adapters.get_loader(of_type, Format.TEXT) in {JsonLoader, JsonbLoader}
        session.adapters.register_loader(of_type, _DocumentLoader if parses else _TextLoader)


class _TextLoader(Loader):
    def load(self, data: Buffer) -> str:
        stored = bytes(data)
        try:
            return stored.decode()
        except UnicodeDecodeError:
            return UnreadableText(stored.decode(errors="replace"))


class _DocumentLoader(Loader):
    def load(self, data: Buffer) -> Any:
        return json.loads(bytes(data).decode(errors="replace"))


class _BinaryTextLoader(_TextLoader):
    format = Format.BINARY


class SendsUtf8:
    """A cursor that sends statements in UTF-8, as values are sent; psycopg would refuse all but ASCII."""

    def execute(self, query: Query, *others: Any, **options: Any) -> Any:
        return super().execute(_encoded(query), *others, **options)  # type: ignore[misc]  # the cursor's

    def executemany(self, query: Query, *others: Any, **options: Any) -> Any:
        return super().executemany(_encoded(query), *others, **options)  # type: ignore[misc]  # the cursor's


def _encoded(query: Query) -> Query:
    return query.encode() if isinstance(query, str) else query
