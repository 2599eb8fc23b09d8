"""The secrets of a process, as its environment has them: what must stand in no line and on no page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from opsconsole_worker import secret_files
from opsconsole_worker.errors import InvalidSetting

# A shorter one would be found in ordinary words.
SHORTEST_SECRET = 6
# So would a path of one or two words, which is no secret.
SHORTEST_SECRET_PATH = 12

_SECRET_NAMES = re.compile(
    r"SECRET|PASSWORD|TOKEN|PEPPERS|DSN|OTLP\w*_HEADERS|WEBHOOK|DEADMAN_\w+_URL|ALERT_CHANNELS|CHANNEL_KEYS|ALERT_FALLBACK|OPSCONSOLE_KEY$"
)
# Of proxies, programs read both ways to write the name.
_URL_NAMES = re.compile(r"_URL$|_STORE$|_ENDPOINT$|_PROXY$|_proxy$")
# Parameters of URLs, such as those of libpq. Not sslkey: it names a file.
_SECRET_PARAMETERS = re.compile(r"pass|secret|token|credential|signature|^sig$|^(api_?)?key$", re.IGNORECASE)


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return what of the environment's values must stand in no line, the longest first: one may be part of another.

    Of a URL that is no secret as a whole, these are its passwords. Of one that is, such as a webhook's, also a user without
    a password, and the path: errors of HTTP name the path alone.
    """
    secrets: set[str] = set()
    for name, value in _with_files(environment):
        if secret := bool(_SECRET_NAMES.search(name)):
            secrets |= {value.strip(), *_parts(value)}
        if name.endswith("_HEADERS"):
            # Such as "api-key=secret,tenant=7".
            secrets |= {part.partition("=")[2].strip() for part in value.split(",")}
        if secret or _URL_NAMES.search(name):
            for part in _parts(value):
                secrets |= set(_of_url(part, secret=secret))
    secrets |= set(map(unquote, secrets))
    return tuple(sorted((each for each in secrets if len(each) >= SHORTEST_SECRET), key=len, reverse=True))


def _with_files(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables; of those that name a file with a secret, what that contains."""
    for variable, value in environment.items():
        name = variable.removesuffix(secret_files.SUFFIX)
        if name == variable:
            yield name, value
        elif value.strip() and (_SECRET_NAMES.search(name) or _URL_NAMES.search(name)):
            # The settings refuse a file that can't be read.
            with suppress(InvalidSetting):
                yield name, secret_files.text(name, {variable: value})


def _parts(value: str) -> list[str]:
    """Return what a list separated by commas holds, or an object of JSON, such as one of channels."""
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return [part.strip() for part in value.split(",")]
    return (
        [each for each in document.values() if isinstance(each, str)]
        if isinstance(document, dict)
        else [value]
    )


def _of_url(text: str, *, secret: bool) -> Iterator[str]:
    try:
        parts = urlsplit(text)
        password = parts.password
    except ValueError:  # No URL: the settings say so.
        return
    yield password or ""
    yield from (value for name, value in parse_qsl(parts.query) if _SECRET_PARAMETERS.search(name))
    if secret and parts.scheme and parts.netloc:
        yield from _of_secret_url(parts)


def _of_secret_url(parts: SplitResult) -> Iterator[str]:
    if parts.username and not parts.password:
        yield parts.username
    path = parts.path.rstrip("/")
    if len(path) >= SHORTEST_SECRET_PATH:
        yield path
    if parts.query:
        yield f"{parts.path}?{parts.query}"
    if parts.scheme not in {"http", "https"}:
        # No host but a secret, such as in slack://token/token/token.
        yield parts.netloc
