"""The identity provider, asked over HTTP within bounds: its discovery document, its keys, and the answer to a code.

Both documents are kept in this process for an hour, not in the store, whose writers could otherwise log in as anybody. A
token that names a key which is not among them makes the process read the keys anew, as a rotation needs.

A provider that hangs takes few threads, and only for some seconds: all others are told at once, and log in locally.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from opsconsole.sign_in.oidc import configuration
from opsconsole.sign_in.oidc.errors import ProviderAway, ProviderBusy
from opsconsole_worker.url_check import is_loopback, is_url

logger = logging.getLogger(__name__)

# Of the threads of a process, which are four by default.
MOST_AT_ONCE = 2
# How long another one waits for its turn: a provider that is well answers sooner.
TURN_SECONDS = 1.0
KEPT_SECONDS = 3_600
# A document that can't be read anew is used for so long.
KEPT_IF_AWAY_SECONDS = 24 * 3_600
# After a failure nobody waits for the provider for so long.
REST_SECONDS = 10
# Signatures with a shared secret are none that a published key could check.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
OTHERS = ("userinfo_endpoint", "end_session_endpoint")
WAYS = "token_endpoint_auth_methods_supported"


@dataclass
class Known:
    """What this process knows of the provider."""

    issuer: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    read_at: float = float("-inf")
    failed_at: float = float("-inf")

    def is_new(self) -> bool:
        return time.monotonic() - self.read_at < KEPT_SECONDS


_known = Known()
_places = threading.BoundedSemaphore(MOST_AT_ONCE)


def forget() -> None:
    """Let the next request read the documents again."""
    global _known  # noqa: PLW0603 - one per process
    _known = Known()


@contextmanager
def place() -> Iterator[None]:
    """Take one of the few threads that may wait for the provider."""
    if not _places.acquire(timeout=TURN_SECONDS):
        raise ProviderBusy("others wait for it already")
    try:
        yield
    finally:
        _places.release()


def document() -> dict[str, Any]:
    """Return what is needed of the discovery document."""
    issuer = str(settings.OPSCONSOLE_OIDC_ISSUER)
    known = _known_of(issuer)
    if known.is_new():
        return known.document
    try:
        return _read_in_turn(issuer)
    except ProviderAway:
        if time.monotonic() - known.read_at >= KEPT_IF_AWAY_SECONDS:
            raise
        return known.document


def _known_of(issuer: str) -> Known:
    global _known  # noqa: PLW0603 - one per process
    if _known.issuer != issuer:
        _known = Known(issuer)
    return _known


def _read_in_turn(issuer: str) -> dict[str, Any]:
    """Read the document, unless another thread does so meanwhile, or failed to a moment ago."""
    with place():
        known = _known_of(issuer)
        if known.is_new():
            return known.document
        if time.monotonic() - known.failed_at < REST_SECONDS:
            raise ProviderAway("it did not answer a moment ago")
        try:
            known.document, known.read_at = _read(issuer), time.monotonic()
        except ProviderAway as error:
            logger.warning("The identity provider %s can't be used: %s", issuer, error)
            known.failed_at = time.monotonic()
            raise
        return known.document


def discovery_address(issuer: str) -> str:
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def _read(issuer: str) -> dict[str, Any]:
    metadata = read_anew(issuer)
    algorithms = metadata.get("id_token_signing_alg_values_supported")
    offered = algorithms if isinstance(algorithms, list) else ["RS256"]
    accepted = [each for each in ALGORITHMS if each in offered]
    kept = {name: metadata[name] for name in (*NEEDED, *OTHERS, WAYS) if name in metadata}
    return kept | {"issuer": issuer, "id_token_signing_alg_values_supported": accepted}


def read_anew(issuer: str) -> dict[str, Any]:
    """Return the discovery document as it is now, whole."""
    from opsconsole.sign_in.oidc import client  # noqa: PLC0415 - reads Authlib, which nobody else needs

    metadata = client.fetch_json(discovery_address(issuer))
    if problem := problem_with(metadata, issuer):
        raise ProviderAway(problem)
    return metadata


def keys_of(metadata: dict[str, Any]) -> int:
    """Return how many keys the provider publishes now."""
    from opsconsole.sign_in.oidc import client  # noqa: PLC0415 - likewise

    keys = client.fetch_json(metadata["jwks_uri"]).get("keys")
    return len(keys) if isinstance(keys, list) else 0


def problem_with(metadata: dict[str, Any], issuer: str) -> str:
    """Return what is wrong with a discovery document, or an empty string. Pure."""
    if metadata.get("issuer") != issuer:
        return f"its discovery document is of the issuer {str(metadata.get('issuer'))[:200]!r}"
    for name in (*NEEDED, *(each for each in OTHERS if each in metadata)):
        if not is_safe(metadata.get(name)):
            return f"its discovery document has no usable {name}"
    algorithms = metadata.get("id_token_signing_alg_values_supported")
    if isinstance(algorithms, list) and not set(algorithms) & set(ALGORITHMS):
        return "it signs with none of the accepted algorithms"
    return ""


def is_safe(address: object) -> bool:
    """Tell whether nobody in between can read or change what is sent there: HTTPS, or this host in development."""
    if is_url(address, ("https",)):
        return True
    return settings.OPSCONSOLE_ENV != "production" and is_loopback(address)


def exchange(answer: dict[str, str], kept: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the checked claims for the ``code`` and ``state`` of this answer, and the ID token. ``kept``: what it began with."""
    from opsconsole.sign_in.oidc import client  # noqa: PLC0415 - likewise

    found = document()
    with place():
        return client.exchange(found, configuration.current(), answer, kept)


def logout_claims(token: str) -> dict[str, Any]:
    """Return the checked claims of a logout token. Raise ``BadAnswer`` or ``ProviderAway``.

    With a known key it waits for nobody, also while all that may wait for the provider do: few providers say it twice.
    """
    from opsconsole.sign_in.oidc import client  # noqa: PLC0415 - likewise

    return client.logout_claims(document(), configuration.current(), token, place)


def begin(redirect_uri: str) -> dict[str, Any]:
    """Return the address to send the browser to, with what is needed when it comes back."""
    from opsconsole.sign_in.oidc import client  # noqa: PLC0415 - likewise

    return client.begin(document(), configuration.current(), redirect_uri)


def log_out_address(back_to: str, id_token: str) -> str:
    """Return the address where the browser logs out at the provider, or an empty string where it has none."""
    from opsconsole.sign_in.oidc import client  # noqa: PLC0415 - likewise

    found = document()
    if "end_session_endpoint" not in found:
        return ""
    return client.log_out_address(found, configuration.current(), back_to, id_token)
