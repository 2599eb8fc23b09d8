"""A temporary PostgreSQL for the measurements, durable by default, and a fresh copy of the data per run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit, urlunsplit

import psycopg

from opsconsole import embedded


@dataclass(frozen=True)
class Cluster:
    """A running server; ``admin_url`` is the URL of its database ``postgres``, ``pid`` its main process."""

    admin_url: str
    pid: int

    def url(self, database: str) -> str:
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{database}"))

    @property
    def version(self) -> str:
        with psycopg.connect(self.admin_url) as connection:
            row = connection.execute("SHOW server_version").fetchone()
            return str(row[0]) if row else "unknown"

    def create(self, database: str) -> str:
        """Create an empty database and return its URL."""
        self._run(f"DROP DATABASE IF EXISTS {database}", f"CREATE DATABASE {database}")
        return self.url(database)

    def settle(self, database: str) -> None:
        """Vacuum and analyze, so that no run pays for the way the rows were inserted."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")

    @contextmanager
    def copy_of(self, database: str) -> Iterator[str]:
        """Yield the URL of a copy of the database, fully written to disk; drop the copy at the end."""
        copy = f"{database}_run"
        self.duplicate(database, copy)
        try:
            yield self.url(copy)
        finally:
            self._run(f"DROP DATABASE {copy} WITH (FORCE)")

    def duplicate(self, database: str, copy: str) -> str:
        """Make a copy of the database with its settings, fully written to disk; return its URL."""
        self._run(
            f"DROP DATABASE IF EXISTS {copy}",
            f"CREATE DATABASE {copy} TEMPLATE {database} STRATEGY file_copy",
            # The settings of its roles are not part of a database.
            f"""INSERT INTO pg_db_role_setting
                SELECT copy.oid, setrole, setconfig FROM pg_database AS copy, pg_db_role_setting
                 WHERE copy.datname = '{copy}'
                   AND setdatabase = (SELECT oid FROM pg_database WHERE datname = '{database}')""",
            "CHECKPOINT",
        )
        return self.url(copy)

    def set(self, parameters: Mapping[str, str]) -> None:
        """Set parameters of the server; they apply from its next start."""
        self._run(*(f"ALTER SYSTEM SET {name} = '{value}'" for name, value in parameters.items()))

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)


@contextmanager
def running(**parameters: str) -> Iterator[Cluster]:
    """Start the server in a temporary folder; stop it and remove the folder at the end.

    ``parameters``, such as ``shared_buffers="1GB"``, override the server's defaults.
    """
    with TemporaryDirectory(prefix="bench-") as folder:
        if parameters:
            with embedded.start_postgres(Path(folder)) as service:
                Cluster(service.url, service.pid).set(parameters)
        with embedded.start_postgres(Path(folder)) as service:
            yield Cluster(service.url, service.pid)
