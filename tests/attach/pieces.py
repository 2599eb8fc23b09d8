"""The gallery: jobs tables as people really have them, each with what the console says to it.

``gallery/NAME.sql`` makes the tables of a piece, with rows. ``NAME.toml`` declares it: ``verdict`` is ``supported`` or
``refused``; of a refused one, ``table`` and ``column`` say which, and ``reason`` is a word of the sentence. ``NAME.mapping.toml``
is the mapping of a supported one, as OPSCONSOLE_MAPPING names it. ``doubts`` are the words of a status about which a proposal
must say that it is not sure. ``beats = "rows"``: each heartbeat is a row of its own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from opsconsole.kit.mapping import Mapping
from opsconsole_worker.mapping import mapping_file

if TYPE_CHECKING:
    from tests.databases import Database

FOLDER = Path(__file__).parent / "gallery"
KEYS = {"title", "verdict", "table", "column", "reason", "doubts", "owner", "publications", "beats"}


@dataclass(frozen=True)
class Piece:
    """One piece of the gallery, read from its files."""

    name: str
    declared: dict[str, Any]

    @property
    def supported(self) -> bool:
        return bool(self.declared["verdict"] == "supported")

    @property
    def doubts(self) -> frozenset[str]:
        return frozenset(self.declared.get("doubts", ()))

    @property
    def sql(self) -> str:
        return (FOLDER / f"{self.name}.sql").read_text()

    @property
    def mapping_file(self) -> Path:
        return FOLDER / f"{self.name}.mapping.toml"

    def mapping(self) -> Mapping:
        return mapping_file.parse(self.mapping_file.read_text())

    def load(self, connection: psycopg.Connection[Any]) -> None:
        """Make the tables and rows of this piece."""
        connection.execute(self.sql)

    @contextmanager
    def loaded(self, database: Database) -> Iterator[psycopg.Connection[Any]]:
        """Yield a connection that sees this piece in an empty database, until its transaction is undone at the end."""
        with database.connect() as connection, connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL search_path = public")
            self.load(connection)
            yield connection


def pieces() -> list[Piece]:
    names = {path.name.removesuffix(".sql") for path in FOLDER.glob("*.sql")}
    return [piece_of(name) for name in sorted(names)]


def piece_of(name: str) -> Piece:
    return Piece(name, tomllib.loads((FOLDER / f"{name}.toml").read_text()))
