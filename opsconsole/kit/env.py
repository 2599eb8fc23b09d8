"""Readers of environment variables. Each refuses invalid values at start, with a sentence that names the variable.

An empty variable counts as not set, because deployment tools often can't omit one. Values that contain secrets (URLs
with passwords, keys) are never repeated in a message, and may come from a file (``NAME_FILE``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from ipaddress import ip_address, ip_network

import environ
from django.core.exceptions import ImproperlyConfigured
from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.ext import parser as jsonpath

from opsconsole.kit import redis_url_check
from opsconsole_worker.environment import Environment
from opsconsole_worker.url_check import is_loopback, is_url

FEWEST_SECRET_CHARACTERS = 32
LARGEST_PORT = 65_535
LISTENING = "a port such as 9187, or an address and a port such as 0.0.0.0:9187"
_REDIS_EXAMPLE = "redis://host:6379/0"

# Workers read some of them without the console: those readers are the package's.
environment = Environment(environ.Env.ENVIRON, error=ImproperlyConfigured)
# Every name that was read, with its default, to report misspelt variables and to test the docs.
known = environment.known
# Those of them that hold a secret: a file may contain it.
secret_names = environment.secret_names

refuse = environment.refuse
text = environment.text
secret = environment.secret
integer = environment.integer
seconds = environment.seconds
choice = environment.choice
boolean = environment.boolean
words = environment.words
url = environment.url
database = environment.database
region = environment.region
schema = environment.schema
mapping = environment.mapping
columns = environment.columns
queues = environment.queues


def share(name: str, default: float) -> float:
    """Read a share of a whole, above 0 and up to 1."""
    value = text(name, str(default))
    if not re.fullmatch(r"[0-9]{0,3}\.?[0-9]{1,12}", value) or not 0 < float(value) <= 1:
        refuse(name, "a number above 0 and up to 1, such as 0.5", value)
    return float(value)


def archive(name: str) -> str:
    """Read where files are archived: a folder, a bucket such as ``s3://bucket/folder``, ``none`` for nowhere; empty if not set."""
    value = text(name)
    bucket = re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/]+)*/?", value)
    if value and value != "none" and not bucket and not value.startswith("/"):
        refuse(name, "an absolute folder, s3://bucket/folder or none", value)
    return value.rstrip("/") if value != "/" else value


def json_paths(name: str) -> list[str]:
    """Read JSON paths, separated by commas, such as ``$.customer.email, $..card_number``."""
    for path in words(name):
        try:
            jsonpath.parse(path)
        except (JSONPathError, ValueError, RecursionError) as error:
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


def hosts(name: str, default: Sequence[str]) -> list[str]:
    """Read names of hosts as Django compares them, separated by commas: no scheme, port or path; ``*`` stands for all."""
    for host in words(name, default):
        if not re.fullmatch(r"\*|\.?[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]+\]", host):
            refuse(name, "names of hosts such as ops.example.com or .example.com, separated by commas", host)
    return words(name, default)


def listening(name: str) -> tuple[str, int] | None:
    """Read where to listen: a port of the loopback address, or an address and a port; None when it isn't set."""
    value = text(name)
    if not value:
        return None
    host, _, port = value.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= LARGEST_PORT:
        refuse(name, LISTENING, value)
    try:
        return (str(ip_address(host.strip("[]"))) if host else "127.0.0.1", int(port))
    except ValueError:
        refuse(name, LISTENING, value)


def topics(name: str) -> list[str]:
    """Read ARNs of SNS topics, separated by commas."""
    for topic in words(name):
        if not re.fullmatch(r"arn:aws(-cn|-us-gov)?:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}", topic):
            refuse(name, "ARNs such as arn:aws:sns:us-east-1:123456789012:name, separated by commas", topic)
    return words(name)


def webhook(name: str, example: str, *, loopback: bool) -> str | None:
    """Read a secret HTTPS address, or None. ``loopback`` also allows plain HTTP on this machine."""
    value = secret(name)
    if not value or is_url(value, ("https",)):
        return value or None
    if not loopback or not is_loopback(value):
        refuse(name, f"a URL such as {example}")
    return value


def addresses(name: str) -> dict[str, str]:
    """Read a JSON object from names to secret addresses; ``{}`` when it isn't set. Nothing of it is shown."""
    example = 'a JSON object such as {"mail": "mailtos://user:password@example.com?to=team@example.com"}'
    value = environment.json_value(name, secret(name, "{}"))
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
    value = str(environment.variables.get("WEB_CONCURRENCY", "")).strip()
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


def queue_names(name: str, known: Collection[str]) -> tuple[str, ...]:
    """Read names of configured queues, separated by commas."""
    for word in words(name):
        if word not in known:
            refuse(
                name,
                f"names of configured queues ({', '.join(sorted(known)) or 'none'}), separated by commas",
                word,
            )
    return tuple(words(name))
