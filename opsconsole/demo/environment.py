"""Where the demo lives, and what its processes are told through their environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MANAGE = [sys.executable, str(REPOSITORY / "manage.py")]
# Every process of a demo carries its folder under this name, so that what a killed one left can be found.
MARK = "DEMO_FOLDER"
SHORTEST_SECONDS = 120
# Of the outside's settings nothing may reach the demo: it must not touch a real database or queue.
OTHERS = ("OPSCONSOLE_", "AWS_", "SQS_", "SLACK_", "DATABASE_URL", "CACHE_URL", "Q_CLUSTER", "DEMO_", "PG")
PACE = {
    "OPSCONSOLE_STALE_AFTER_SECONDS": "15",
    "OPSCONSOLE_BEAT_INTERVAL_SECONDS": "2",
    "OPSCONSOLE_SWEEP_INTERVAL_SECONDS": "3",
    "OPSCONSOLE_RETRY_BACKOFF_SECONDS": "3",
    "OPSCONSOLE_MAX_RECOVERIES": "2",
    "OPSCONSOLE_CLUSTER_STALL_SECONDS": "60",
}


class DemoError(Exception):
    """The demo can't start; the message says why, and what to do about it."""


@dataclass(frozen=True)
class Wishes:
    """What was asked for. ``seconds`` None: until stopped."""

    folder: Path
    port: int
    seconds: int | None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def of(cls, environ: dict[str, str]) -> Wishes:
        """Read them from the environment. Raises ``DemoError``."""
        folder = Path(environ.get("OPSCONSOLE_VAR_DIR") or REPOSITORY / "var").resolve() / "demo"
        port = _number(environ, "DEMO_PORT", "8000", 1, 65_535, "a free port of this machine")
        seconds = None
        if environ.get("DEMO_SECONDS"):
            why = f"so many seconds or more, as a job whose worker dies needs them to end ({SHORTEST_SECONDS} at least)"
            seconds = _number(environ, "DEMO_SECONDS", "", SHORTEST_SECONDS, 10**9, why)
        return cls(folder, port, seconds)


def _number(environ: dict[str, str], name: str, default: str, least: int, most: int, what: str) -> int:
    value = environ.get(name) or default
    if not value.isdecimal() or not least <= int(value) <= most:
        raise DemoError(f"{name} must be {what}, not '{value}'.")
    return int(value)


def for_processes(wishes: Wishes, services: dict[str, str]) -> dict[str, str]:
    """The environment of all the demo's processes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    own = {
        MARK: str(wishes.folder),
        "DJANGO_SETTINGS_MODULE": "opsconsole.settings",
        "OPSCONSOLE_ENV": "development",
        "OPSCONSOLE_VAR_DIR": str(wishes.folder),
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PYTHONUNBUFFERED": "1",
    }
    return inherited | own | PACE | services
