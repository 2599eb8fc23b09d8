"""Readers of environment variables. Each refuses invalid values at start, with a sentence that names the variable.

An empty variable counts as not set, because deployment tools often can't omit one. Values that contain secrets (URLs
with passwords, keys) are never repeated in a message, and may come from a file (``NAME_FILE``).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from opsconsole_worker import secret_files
from opsconsole_worker.connection_parameters import KNOWN_PARAMETERS, is_encoded, unusable_parameter
from opsconsole_worker.errors import InvalidSetting
from opsconsole_worker.storable import KeyTwice, each_key_once
from opsconsole_worker.url_check import is_url

_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_USER_OF_URL = re.compile(r"://\S*@")
_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUEUES_EXAMPLE = '{"slow": {"url": "https://...", "dlq_url": "https://..."}}'


@dataclass(frozen=True)
class QueueConfig:
    """One queue. ``dlq_url`` None: it has no known dead letter queue."""

    name: str
    url: str
    dlq_url: str | None


class Environment:
    """The variables of a process. ``error``: what a refusal raises.

    ``known`` has every name that was read, with its default; ``secret_names`` those that hold a secret.
    """

    def __init__(
        self, variables: Mapping[str, str] | None = None, *, error: type[Exception] = InvalidSetting
    ) -> None:
        self.variables = os.environ if variables is None else variables
        self.error = error
        self.known: dict[str, str] = {}
        self.secret_names: set[str] = set()

    def refuse(self, name: str, accepted: str, found: object = None) -> NoReturn:
        """Raise ``error``: the variable ``name`` must be ``accepted``."""
        # A URL in the wrong variable may have a password.
        shown = "" if found is None else f", not {_USER_OF_URL.sub('://...@', str(found))[:80]!r}"
        raise self.error(f"{name} must be {accepted}{shown}. Correct it, or unset it.")

    def text(self, name: str, default: str = "") -> str:
        """Return the variable without surrounding blanks, or ``default``."""
        self.known.setdefault(name, default)
        if name in self.secret_names:
            try:
                return secret_files.text(name, self.variables) or default
            except InvalidSetting as error:
                raise self.error(*error.args) from error.__cause__
        return str(self.variables.get(name, "")).strip() or default

    def secret(self, name: str, default: str = "") -> str:
        """Return the variable, or the content of the file that ``NAME_FILE`` names, without surrounding blanks."""
        self.secret_names.add(name)
        return self.text(name, default)

    def integer(self, name: str, default: int, *, at_least: int = 1, at_most: int = 2**31 - 1) -> int:
        """Read a whole number within bounds."""
        value = self.text(name, str(default))
        if not re.fullmatch(r"-?[0-9]{1,12}", value) or not at_least <= int(value) <= at_most:
            self.refuse(name, f"a whole number from {at_least} to {at_most}", value)
        return int(value)

    def seconds(self, name: str, default: int, *, at_least: int = 1, at_most: int = 30 * 86_400) -> int:
        """Read a duration in whole seconds, by default from one second to thirty days."""
        return self.integer(name, default, at_least=at_least, at_most=at_most)

    def choice(self, name: str, default: str, accepted: Sequence[str]) -> str:
        """Read one of several words."""
        value = self.text(name, default)
        if value not in accepted:
            self.refuse(name, " or ".join(accepted), value)
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        """Read one of the words for true and false."""
        value = self.text(name, str(default)).lower()
        if value not in _TRUE | _FALSE:
            self.refuse(name, "true or false", value)
        return value in _TRUE

    def words(self, name: str, default: Sequence[str] = ()) -> list[str]:
        """Read a list separated by commas."""
        return [word.strip() for word in self.text(name, ",".join(default)).split(",") if word.strip()]

    def url(self, name: str, schemes: Sequence[str], example: str, *, is_secret: bool = False) -> str | None:
        """Read a URL with a host or of a Unix socket; None when it isn't set. It may contain a password and is never shown."""
        value = self.secret(name) if is_secret else self.text(name)
        if value and not is_url(value, schemes):
            self.refuse(name, f"a URL such as {example}")
        return value or None

    def database(self, name: str, example: str, *, for_libpq: bool = False) -> str | None:
        """Read a PostgreSQL URL that names a database; None when the variable isn't set.

        ``for_libpq``: libpq reads it, which takes all after the first @ for the host, and quotes what it can't decode.
        """
        value = self.secret(name)
        if not value:
            return None
        if not is_url(value, ("postgres", "postgresql")) or not urlsplit(value).path.strip("/"):
            self.refuse(name, f"a PostgreSQL URL with the name of a database, such as {example}")
        if for_libpq and not is_encoded(value):
            self.refuse(
                name, "a PostgreSQL URL whose user and password are percent-encoded, such as %40 for @"
            )
        # The driver would refuse it at the first connection, or pass over it.
        if (parameter := unusable_parameter(value)) is not None:
            self.refuse(name, f"a PostgreSQL URL with {KNOWN_PARAMETERS}", parameter or None)
        return value

    def region(self, name: str, default: str) -> str:
        """Read the name of a region of AWS."""
        value = self.text(name, default)
        if not _REGION.fullmatch(value):
            self.refuse(name, "a region such as us-east-1", value)
        return value

    def schema(self, name: str, default: str) -> str:
        """Read the name of a schema of the database."""
        value = self.text(name, default)
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", value) or value.startswith("pg_"):
            self.refuse(name, "a plain lower-case name of a schema, not one of PostgreSQL's own", value)
        return value

    def mapping(self, name: str, example: str) -> dict[str, Any]:
        """Read a JSON object; ``{}`` when the variable isn't set."""
        value = self.json_value(name, self.text(name, "{}"))
        if not isinstance(value, dict):
            self.refuse(name, f"a JSON object such as {example}", self.text(name))
        return value

    def json_value(self, name: str, text: str) -> object:
        """Return the JSON value in the text, or None where it is no JSON. Refuse objects that have a key twice."""
        try:
            return json.loads(text, object_pairs_hook=each_key_once)
        except KeyTwice as error:
            self.refuse(name, f"JSON that has each key once; {error.key[:80]!r} is there twice")
        except (ValueError, RecursionError):
            return None

    def columns(self, name: str, accepted: Sequence[str]) -> dict[str, str]:
        """Read contract columns ("table.column") that have another name in the database."""
        value = self.mapping(name, '{"worker_heartbeats.last_heartbeat": "last_seen"}')
        for contract_name, actual in value.items():
            if contract_name not in accepted:
                self.refuse(
                    name, f"a JSON object with no other keys than {', '.join(accepted)}", contract_name
                )
            if not isinstance(actual, str) or not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", actual):
                self.refuse(
                    name, f"a JSON object whose {contract_name!r} is a plain lower-case column name", actual
                )
        return value

    def queues(self, main: str, main_dlq: str, others: str) -> dict[str, QueueConfig]:
        """Read all queues by name: ``default`` from two variables, the others from a JSON object."""
        configured = {}
        default_url = self._queue_url(main, self.text(main))
        default_dlq = self._queue_url(main_dlq, self.text(main_dlq))
        if default_url:
            configured["default"] = QueueConfig("default", default_url, default_dlq)
        elif default_dlq:
            self.refuse(main, f"set when {main_dlq} is")
        for queue_name, entry in self.mapping(others, _QUEUES_EXAMPLE).items():
            if queue_name in configured or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", queue_name):
                self.refuse(
                    others, f"a JSON object whose names are lower-case words other than {main}'s", queue_name
                )
            configured[queue_name] = self._queue(others, queue_name, entry)
        self._refuse_shared_urls(configured, f"{main}, {main_dlq} and {others}")
        return configured

    def _queue(self, variable: str, queue_name: str, entry: Any) -> QueueConfig:
        if not isinstance(entry, dict) or not entry.get("url") or not entry.keys() <= {"url", "dlq_url"}:
            self.refuse(
                variable, f"like {_QUEUES_EXAMPLE}: each has a url, perhaps a dlq_url", {queue_name: entry}
            )
        dlq_url = self._queue_url(variable, entry.get("dlq_url"))
        return QueueConfig(queue_name, str(self._queue_url(variable, entry["url"])), dlq_url)

    def _queue_url(self, variable: str, value: object) -> str | None:
        if value and not is_url(value, ("http", "https")):
            self.refuse(
                variable, "a queue's URL such as https://sqs.us-east-1.amazonaws.com/123456789012/jobs", value
            )
        return str(value) if value else None

    def _refuse_shared_urls(self, configured: dict[str, QueueConfig], variables: str) -> None:
        urls = [queue.url for queue in configured.values()]
        # Queues may share a dead letter queue, but the dead letters of no queue may come back as work.
        urls += {queue.dlq_url for queue in configured.values() if queue.dlq_url}
        twice = next((url for url in urls if urls.count(url) > 1), None)
        if twice:
            self.refuse(variables, "different URLs for different queues", twice)
