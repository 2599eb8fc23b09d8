"""Readers of environment variables. Each refuses invalid values at start, with a sentence that names the variable.

An empty variable counts as not set, because deployment tools often can't omit one. Values that contain secrets (URLs
with passwords, keys) are never repeated in a message, and may come from a file (``NAME_FILE``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, NoReturn
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.ext import parser as jsonpath

from opsconsole.kit import redis_url_check, secret_files
from opsconsole.kit.url_check import is_url

FEWEST_SECRET_CHARACTERS = 32
_REDIS_EXAMPLE = "redis://host:6379/0"

_environment = environ.Env.ENVIRON
# Every name that was read, with its default, to report misspelt variables and to test the docs.
known: dict[str, str] = {}
# Those of them that hold a secret: a file may contain it.
secret_names: set[str] = set()


@dataclass(frozen=True)
class QueueConfig:
    """One queue. ``dlq_url`` None: it has no known dead letter queue."""

    name: str
    url: str
    dlq_url: str | None


def refuse(name: str, accepted: str, found: object = None) -> NoReturn:
    """Raise ``ImproperlyConfigured``: the variable ``name`` must be ``accepted``."""
    shown = "" if found is None else f", not {str(found)[:80]!r}"
    raise ImproperlyConfigured(f"{name} must be {accepted}{shown}. Correct it, or unset it.")


def text(name: str, default: str = "") -> str:
    """Return the variable without surrounding blanks, or ``default``."""
    known.setdefault(name, default)
    if name in secret_names:
        return secret_files.text(name, _environment) or default
    return str(_environment.get(name, "")).strip() or default


def secret(name: str, default: str = "") -> str:
    """Return the variable, or the content of the file that ``NAME_FILE`` names, without surrounding blanks."""
    secret_names.add(name)
    return text(name, default)


def integer(name: str, default: int, *, at_least: int = 1, at_most: int = 2**31 - 1) -> int:
    value = text(name, str(default))
    if not re.fullmatch(r"-?[0-9]{1,12}", value) or not at_least <= int(value) <= at_most:
        refuse(name, f"a whole number from {at_least} to {at_most}", value)
    return int(value)


def seconds(name: str, default: int, *, at_least: int = 1, at_most: int = 30 * 86_400) -> int:
    """Read a duration in whole seconds, by default from one second to thirty days."""
    return integer(name, default, at_least=at_least, at_most=at_most)


def share(name: str, default: float) -> float:
    """Read a share of a whole, above 0 and up to 1."""
    value = text(name, str(default))
    if not re.fullmatch(r"[0-9]{0,3}\.?[0-9]{1,12}", value) or not 0 < float(value) <= 1:
        refuse(name, "a number above 0 and up to 1, such as 0.5", value)
    return float(value)


def boolean(name: str, *, default: bool) -> bool:
    value = text(name, str(default)).lower()
    if value not in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
        refuse(name, "true or false", value)
    return value in environ.Env.BOOLEAN_TRUE_STRINGS


def choice(name: str, default: str, accepted: Sequence[str]) -> str:
    value = text(name, default)
    if value not in accepted:
        refuse(name, " or ".join(accepted), value)
    return value


def words(name: str, default: Sequence[str] = ()) -> list[str]:
    """Read a list separated by commas."""
    return [word.strip() for word in text(name, ",".join(default)).split(",") if word.strip()]


def json_paths(name: str) -> list[str]:
    """Read JSON paths, separated by commas, such as ``$.customer.email, $..card_number``."""
    for path in words(name):
        try:
            jsonpath.parse(path)
        except JSONPathError as error:
            raise ImproperlyConfigured(
                f"{name} must be JSON paths such as $.customer.email, separated by commas, not {path[:80]!r}: "
                f"{error}. Correct it, or unset it."
            ) from error
    return words(name)


def job_id_paths(name: str) -> list[str]:
    """Read JSON paths that lead from the whole body to the id of a job, such as ``$.order.job``."""
    for path in json_paths(name):
        if not re.match(r"\$(\.|\[).", path):
            refuse(name, "JSON paths from the body to the id of a job, such as $.order.job", path)
    return words(name)


def secrets(name: str) -> list[str]:
    """Read secrets separated by commas, each of 32 characters or more; they are never shown."""
    values = [word.strip() for word in secret(name).split(",") if word.strip()]
    if any(len(value) < FEWEST_SECRET_CHARACTERS for value in values):
        refuse(name, f"secrets of at least {FEWEST_SECRET_CHARACTERS} characters, separated by commas")
    return values


def origins(name: str) -> list[str]:
    """Read origins, separated by commas: a scheme and a host (possibly ``*.domain``), without a path."""
    for origin in words(name):
        if not re.fullmatch(r"https?://(\*\.)?[A-Za-z0-9.\-\[\]:]+", origin):
            refuse(name, "origins such as https://ops.example.com, separated by commas", origin)
    return words(name)


def topics(name: str) -> list[str]:
    """Read ARNs of SNS topics, separated by commas."""
    for topic in words(name):
        if not re.fullmatch(r"arn:aws(-cn|-us-gov)?:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}", topic):
            refuse(name, "ARNs such as arn:aws:sns:us-east-1:123456789012:name, separated by commas", topic)
    return words(name)


def url(name: str, schemes: Sequence[str], example: str, *, is_secret: bool = False) -> str | None:
    """Read a URL with a host or of a Unix socket; None when it isn't set. It may contain a password and is never shown."""
    value = secret(name) if is_secret else text(name)
    if value and not is_url(value, schemes):
        refuse(name, f"a URL such as {example}")
    return value or None


def webhook(name: str, example: str, *, loopback: bool) -> str | None:
    """Read a secret HTTPS address, or None. ``loopback`` also allows plain HTTP on this machine."""
    value = secret(name)
    if not value or is_url(value, ("https",)):
        return value or None
    if not loopback or not is_url(value, ("http",)) or urlsplit(value).hostname not in _LOOPBACK:
        refuse(name, f"a URL such as {example}")
    return value


def addresses(name: str) -> dict[str, str]:
    """Read a JSON object from names to secret addresses; ``{}`` when it isn't set. Nothing of it is shown."""
    example = 'a JSON object such as {"mail": "mailtos://user:password@example.com?to=team@example.com"}'
    try:
        value = json.loads(secret(name, "{}"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(each, str) and each for each in value.values()):
        refuse(name, example)
    wrong = next((each for each in value if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", each)), None)
    if wrong is not None or "slack" in value:
        refuse(name, "a JSON object whose names are lower-case words other than 'slack'", wrong or "slack")
    return value


def redis_url(name: str) -> str | None:
    """Read a URL of Redis or Valkey, or None. Its client judges the parameters, because it alone knows them."""
    value = url(name, ("redis", "rediss", "unix"), _REDIS_EXAMPLE, is_secret=True)
    if value and (refused := redis_url_check.refusal(value)):
        refuse(name, f"a URL such as {_REDIS_EXAMPLE} {refused}")
    return value


def store(name: str, default: str | None) -> str | None:
    """Read a URL of Redis or Valkey; ``default`` when the variable isn't set, None when it says "memory"."""
    value = secret(name)
    if value == "memory":
        return None
    if value and not is_url(value, ("redis", "rediss", "unix")):
        refuse(name, f'a URL such as {_REDIS_EXAMPLE}, or "memory"')
    return redis_url(name) or default


def web_concurrency() -> int:
    """Return the number of processes that gunicorn starts by default: its own variable, or one."""
    value = str(_environment.get("WEB_CONCURRENCY", "")).strip()
    return int(value) if re.fullmatch(r"[1-9][0-9]{0,3}", value) else 1


def header(name: str) -> str:
    """Read the name of an HTTP header. Underscores are refused, because servers don't distinguish them from dashes."""
    value = text(name)
    if value and not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", value):
        refuse(name, "the name of a header such as X-Forwarded-User", value)
    return value


def networks(name: str) -> tuple[str, ...]:
    """Read networks, separated by commas; the word "unix" stands for clients on a Unix socket."""
    for word in words(name):
        try:
            word == "unix" or ip_network(word)
        except ValueError:
            refuse(name, 'networks such as 10.0.0.0/8 or "unix", separated by commas', word)
    return tuple(words(name))


def database(name: str, example: str) -> str | None:
    """Read a PostgreSQL URL that names a database; None when the variable isn't set."""
    value = secret(name)
    if not value:
        return None
    if not is_url(value, ("postgres", "postgresql")) or not urlsplit(value).path.strip("/"):
        refuse(name, f"a PostgreSQL URL with the name of a database, such as {example}")
    return value


def schema(name: str, default: str) -> str:
    """Read the name of a schema of the database."""
    value = text(name, default)
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", value) or value.startswith("pg_"):
        refuse(name, "a plain lower-case name of a schema, not one of PostgreSQL's own", value)
    return value


def mapping(name: str, example: str) -> dict[str, Any]:
    """Read a JSON object; ``{}`` when the variable isn't set."""
    try:
        value = json.loads(text(name, "{}"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        refuse(name, f"a JSON object such as {example}", text(name))
    return value


def columns(name: str, accepted: Sequence[str]) -> dict[str, str]:
    """Read contract columns ("table.column") that have another name in the database."""
    value = mapping(name, '{"worker_heartbeats.last_heartbeat": "last_seen"}')
    for contract_name, actual in value.items():
        if contract_name not in accepted:
            refuse(name, f"a JSON object with no other keys than {', '.join(accepted)}", contract_name)
        if not isinstance(actual, str) or not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", actual):
            refuse(name, f"a JSON object whose {contract_name!r} is a plain lower-case column name", actual)
    return value


def queues(main: str, main_dlq: str, others: str) -> dict[str, QueueConfig]:
    """Read all queues by name: ``default`` from two variables, the others from a JSON object."""
    configured = {}
    default_url = _queue_url(main, text(main))
    default_dlq = _queue_url(main_dlq, text(main_dlq))
    if default_url:
        configured["default"] = QueueConfig("default", default_url, default_dlq)
    elif default_dlq:
        refuse(main, f"set when {main_dlq} is")
    for queue_name, entry in mapping(others, _QUEUES_EXAMPLE).items():
        if queue_name in configured or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", queue_name):
            refuse(others, f"a JSON object whose names are lower-case words other than {main}'s", queue_name)
        configured[queue_name] = _queue(others, queue_name, entry)
    _refuse_shared_urls(configured, f"{main}, {main_dlq} and {others}")
    return configured


_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_QUEUES_EXAMPLE = '{"slow": {"url": "https://...", "dlq_url": "https://..."}}'


def _queue(variable: str, queue_name: str, entry: Any) -> QueueConfig:
    if not isinstance(entry, dict) or not entry.get("url") or not entry.keys() <= {"url", "dlq_url"}:
        refuse(variable, f"like {_QUEUES_EXAMPLE}: each has a url, perhaps a dlq_url", {queue_name: entry})
    dlq_url = _queue_url(variable, entry.get("dlq_url"))
    return QueueConfig(queue_name, str(_queue_url(variable, entry["url"])), dlq_url)


def _queue_url(variable: str, value: object) -> str | None:
    if value and not is_url(value, ("http", "https")):
        refuse(variable, "a queue's URL such as https://sqs.us-east-1.amazonaws.com/123456789012/jobs", value)
    return str(value) if value else None


def _refuse_shared_urls(configured: dict[str, QueueConfig], variables: str) -> None:
    urls = [queue.url for queue in configured.values()]
    # Queues may share a dead letter queue, but the dead letters of no queue may come back as work.
    urls += {queue.dlq_url for queue in configured.values() if queue.dlq_url}
    twice = next((url for url in urls if urls.count(url) > 1), None)
    if twice:
        refuse(variables, "different URLs for different queues", twice)
