"""The console as a deployment runs it: production settings, separate processes, a pooler and a TLS proxy in front."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tests.field.proxy import Proxy, nginx
from tests.programs import program
from tests.repository import REPOSITORY
from tests.serving import gunicorn

if TYPE_CHECKING:
    from tests.databases import Database

Serve: TypeAlias = Callable[..., AbstractContextManager[int]]
SECRET_KEY = "long enough to be taken for a secret of production"
# The roles of the database: one migrates, the other does everything else.
OWNER, RUNTIME = "field_owner", "field_console"
NAME, PASSWORD = "olga", "correct-horse-battery"


@dataclass(frozen=True)
class Console:
    """A database with the console's tables, and the environment of the console's processes."""

    folder: Path
    database: Database
    environment: Mapping[str, str]

    @contextmanager
    def served(self, *options: str, serve: Serve = gunicorn, **environment: str) -> Iterator[Proxy]:
        """Serve the pages and the API behind nginx, with gunicorn as it is shipped or with another server."""
        with (
            serve(self.folder, *options, **(dict(self.environment) | environment)) as port,
            nginx(self.folder, port) as proxy,
        ):
            yield proxy

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=REPOSITORY,
            env=os.environ | dict(self.environment) | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def running(self, *arguments: str, **environment: str) -> Iterator[Path]:
        """Run a command beside the test; yield the file that receives its output."""
        log = self.folder / f"{arguments[0]}.log"
        with log.open("ab") as output:
            command = program(
                [sys.executable, "manage.py", *arguments],
                cwd=REPOSITORY,
                env=os.environ | dict(self.environment) | {"PYTHONUNBUFFERED": "1"} | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                end_signal=signal.SIGTERM,
            )
            with command:
                yield log

    def key(self, *scopes: str, policy: str = "api-key") -> str:
        """Create an API key and return its text."""
        from tests import keys  # imports models, which need the settings

        with self.database.as_default():
            return keys.key(f"{policy} {' '.join(scopes)}", scopes, policy=policy)[1]

    def web_log(self) -> str:
        return (self.folder / "gunicorn.log").read_text()
