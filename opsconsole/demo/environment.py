"""The demo's folder and the environment variables of its processes."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from opsconsole import paths

# Every process of a demo has the demo's folder in this variable, so that leftovers of a killed demo can be found.
MARK = "DEMO_FOLDER"
# Sweeps leave its stale runs to operators.
QUEUE_BY_HAND = "listings"
SHORTEST_SECONDS = 120
LONGEST_SECONDS = 30 * 86_400
# No settings of the surrounding shell may reach the demo: it must not touch a real database or queue.
OTHERS = ("OPSCONSOLE_", "AWS_", "SQS_", "SLACK_", "DATABASE_URL", "CACHE_URL", "Q_CLUSTER", "DEMO_", "PG")
PACE = {
    "OPSCONSOLE_STALE_AFTER_SECONDS": "20",
    "OPSCONSOLE_BEAT_INTERVAL_SECONDS": "2",
    "OPSCONSOLE_SWEEP_INTERVAL_SECONDS": "5",
    # With the default, a visitor would wait for up to five minutes.
    "OPSCONSOLE_DLQ_CHECK_INTERVAL_SECONDS": "10",
    "OPSCONSOLE_RETRY_BACKOFF_SECONDS": "3",
    "OPSCONSOLE_MAX_RECOVERIES": "2",
    "OPSCONSOLE_CLUSTER_STALL_SECONDS": "60",
}


class DemoError(Exception):
    """The demo can't start; the message says why, and what to do about it."""


@dataclass(frozen=True)
class Wishes:
    """The options of the demo. ``seconds`` None: run until stopped."""

    folder: Path
    port: int
    seconds: int | None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def of(cls, environ: dict[str, str]) -> Wishes:
        """Read the options from the environment. Raise ``DemoError`` when one makes no sense."""
        folder = Path(environ.get("OPSCONSOLE_VAR_DIR") or paths.default_var_dir()).resolve() / "demo"
        port, seconds = environ.get("DEMO_PORT") or "8000", environ.get("DEMO_SECONDS") or None
        if not _is_number(port, 1, 65_535):
            raise DemoError(f"DEMO_PORT must be a port of this machine, such as 8010, not '{port}'.")
        if seconds is not None and not _is_number(seconds, SHORTEST_SECONDS, LONGEST_SECONDS):
            raise DemoError(
                f"DEMO_SECONDS must be a whole number from {SHORTEST_SECONDS}, not '{seconds}': a job that kills its "
                "workers needs that long until it is set aside. Unset it to run until Ctrl-C."
            )
        return cls(folder, int(port), int(seconds) if seconds else None)


def _is_number(value: str, least: int, most: int) -> bool:
    return value.isascii() and value.isdecimal() and least <= int(value) <= most


def for_processes(wishes: Wishes, services: dict[str, str]) -> dict[str, str]:
    """Return the environment of all the demo's processes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    own = {
        MARK: str(wishes.folder),
        "DJANGO_SETTINGS_MODULE": "opsconsole.settings",
        "OPSCONSOLE_ENV": "development",
        "OPSCONSOLE_VAR_DIR": str(wishes.folder),
        "OPSCONSOLE_PUBLIC_URL": wishes.address,
        # The noisy client sends its address in a header; a person at this machine sends none and remains 127.0.0.1.
        "OPSCONSOLE_TRUSTED_PROXIES": "127.0.0.1",
        "OPSCONSOLE_RECOVERY_BY_HAND": QUEUE_BY_HAND,
        # So that visitors can add channels on the page. The database that they encrypt ends with the demo.
        "OPSCONSOLE_CHANNEL_KEYS": secrets.token_urlsafe(48),
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PYTHONUNBUFFERED": "1",
        # gunicorn names its processes, and /proc must still show MARK then. gunicorn reads it before our settings of it.
        "SPT_NOENV": "1",
    }
    return inherited | own | PACE | services
