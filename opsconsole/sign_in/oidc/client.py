"""The client of OpenID Connect: Authlib, with bounds for time and size. The only module that knows it.

Authlib makes state, nonce and PKCE, and checks them, the signature, issuer, audience and times. It is read when somebody
signs in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from urllib.parse import urlencode

import requests
import urllib3
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.base_client import BaseApp, OAuth2Mixin, OpenIDMixin
from authlib.integrations.requests_client import OAuth2Session
from joserfc.errors import JoseError

from opsconsole.kit.errors import first_line
from opsconsole.sign_in.oidc.claims import groups_in, has_usable_subject
from opsconsole.sign_in.oidc.configuration import Configuration
from opsconsole.sign_in.oidc.errors import BadAnswer, ProviderAway
from opsconsole.sign_in.oidc.logout_token import LogoutToken

CONNECT_SECONDS, READ_SECONDS, WHOLE_SECONDS = 3.05, 5.0, 8.0
LARGEST = 512 * 1024
# How far the provider's clock and ours may be apart.
SKEW_SECONDS = 60
# After a token with a key that is not published, the keys are not read anew for another one for so long.
KEYS_REST_SECONDS = 10.0
_KEYS_REST_UNTIL, _KEYS_READ_AT = "keys_rest_until", "keys_read_at"
_reading_anew = threading.Lock()
# A longer one would not fit into an address.
LONGEST_HINT = 4_000
POST, BASIC = "client_secret_post", "client_secret_basic"


class Session(OAuth2Session):  # type: ignore[misc]  # Authlib has no types
    """A client that waits for some seconds, reads some kilobytes, and follows nobody elsewhere."""

    def request(self, method: str, url: str, *args: Any, **options: Any) -> requests.Response:
        until = time.monotonic() + WHOLE_SECONDS
        bounds = {"timeout": (CONNECT_SECONDS, READ_SECONDS), "allow_redirects": False, "stream": True}
        response: requests.Response = super().request(method, url, *args, **options | bounds)
        with response:
            response._content = _content(response, until)  # noqa: SLF001 - as requests itself does without bounds
        if 300 <= response.status_code < 400:
            raise requests.TooManyRedirects(f"{url} answers {response.status_code}")
        return response


class Client(OAuth2Mixin, OpenIDMixin, BaseApp):  # type: ignore[misc]  # Authlib has no types
    client_cls = Session
    # Entered while the provider's keys are read.
    place: Callable[[], AbstractContextManager[None]] = nullcontext

    def fetch_jwk_set(self, force: bool = False) -> Any:  # noqa: FBT001, FBT002 - Authlib's signature
        """Return the provider's keys, those that were read before unless ``force``: a token names a key that is not among them.

        Anybody can send such tokens, and each would keep a thread and make a request to the provider.
        """
        known = self.server_metadata
        if "jwks" in known and not force:
            return known["jwks"]
        with self.place():
            return self._read_keys(force)

    def _read_keys(self, force: bool) -> Any:  # noqa: FBT001 - likewise
        known = self.server_metadata
        if not force or "jwks" not in known:
            return super().fetch_jwk_set(force)
        wanted_at = time.monotonic()
        with _reading_anew:
            if known.get(_KEYS_READ_AT, 0.0) > wanted_at:
                # By another thread, while this one waited for it.
                return known["jwks"]
            if time.monotonic() < known.get(_KEYS_REST_UNTIL, 0.0):
                raise requests.ConnectionError("its keys were read a moment ago")
            known[_KEYS_REST_UNTIL] = time.monotonic() + KEYS_REST_SECONDS
            keys = super().fetch_jwk_set(force)
            known[_KEYS_READ_AT] = time.monotonic()
            return keys


def fetch_json(address: str) -> dict[str, Any]:
    try:
        with Session() as session:
            response = session.request("GET", address, withhold_token=True)
            response.raise_for_status()
            found = response.json()
    except (requests.RequestException, ValueError) as error:
        raise ProviderAway(f"{address}: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise ProviderAway(f"{address} is no JSON object")
    return found


def begin(document: dict[str, Any], configuration: Configuration, redirect_uri: str) -> dict[str, Any]:
    """Return the ``url`` to send the browser to, and ``state``, ``nonce`` and ``code_verifier``."""
    wished = (
        {"acr_values": " ".join(accepted)} if (accepted := configuration.second_factor.get("acr")) else {}
    )
    begun: dict[str, Any] = _client(document, configuration).create_authorization_url(redirect_uri, **wished)
    return begun


def exchange(
    document: dict[str, Any], configuration: Configuration, answer: dict[str, str], kept: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Return the checked claims for the ``code`` and ``state`` of this answer, and the ID token."""
    try:
        return _exchange(document, configuration, answer, kept)
    except requests.RequestException as error:
        raise ProviderAway(f"{type(error).__name__}: {first_line(error)}") from error
    except (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadAnswer(f"{type(error).__name__}: {first_line(error)}") from error


def _exchange(
    document: dict[str, Any], configuration: Configuration, answer: dict[str, str], kept: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    client = _client(document, configuration)
    token = client.fetch_access_token(
        kept["redirect_uri"],
        # Not the address as it came: Authlib would also read a token from its fragment.
        authorization_response=f"?{urlencode(answer)}",
        state=kept["state"],
        code_verifier=kept["code_verifier"],
    )
    expected = _expected(configuration)
    claims = client.parse_id_token(token, kept["nonce"], claims_options=expected, leeway=SKEW_SECONDS)
    if claims is None or not has_usable_subject(claims):
        raise BadAnswer("there is no ID token, or it has no usable subject")
    return _with_groups(client, configuration, dict(claims), token), str(token["id_token"])


def _expected(configuration: Configuration) -> dict[str, Any]:
    """Return by whom and for whom a token must have been issued."""
    return {
        "iss": {"essential": True, "values": [configuration.issuer]},
        "aud": {"essential": True, "values": [configuration.client_id]},
    }


def logout_claims(
    document: dict[str, Any],
    configuration: Configuration,
    token: str,
    place: Callable[[], AbstractContextManager[None]],
) -> dict[str, Any]:
    """Return the checked claims of a logout token. ``place`` is entered only if the provider's keys must be read for it."""
    client = _client(document, configuration)
    client.place = place
    expected = _expected(configuration)
    try:
        claims = client.parse_id_token(
            {"id_token": token}, None, claims_options=expected, claims_cls=LogoutToken, leeway=SKEW_SECONDS
        )
    except requests.RequestException as error:
        raise ProviderAway(f"{type(error).__name__}: {first_line(error)}") from error
    except (AuthlibBaseError, JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadAnswer(f"{type(error).__name__}: {first_line(error)}") from error
    return dict(claims)


def _with_groups(
    client: Client, configuration: Configuration, claims: dict[str, Any], token: dict[str, Any]
) -> dict[str, Any]:
    """Ask for the claims that the ID token lacks, where it does not tell the groups: some providers keep it short."""
    if groups_in(claims, configuration.groups_claim) is not None:
        return claims
    if "userinfo_endpoint" not in client.server_metadata:
        return claims
    userinfo = client.userinfo(token=token)
    if userinfo.get("sub") != claims["sub"]:
        raise BadAnswer("the claims of the userinfo endpoint are about somebody else")
    return {**userinfo, **claims}


def log_out_address(
    document: dict[str, Any], configuration: Configuration, back_to: str, id_token: str
) -> str:
    client = _client(document, configuration)
    hint = id_token if len(id_token) <= LONGEST_HINT else None
    made = client.create_logout_url(back_to, id_token_hint=hint, client_id=configuration.client_id)
    return str(made["url"])


def _client(document: dict[str, Any], configuration: Configuration) -> Client:
    ways = document.get("token_endpoint_auth_methods_supported", [BASIC])
    options = {"scope": " ".join(configuration.scopes), "code_challenge_method": "S256"}
    if configuration.client_secret and BASIC not in ways and POST in ways:
        options["token_endpoint_auth_method"] = POST
    client = Client(
        None,
        client_id=configuration.client_id,
        client_secret=configuration.client_secret or None,
        client_kwargs=options,
    )
    # The same object, so that the keys which it reads are kept as long as the document.
    client.server_metadata = document
    return client


def _content(response: requests.Response, until: float) -> bytes:
    """Read the body within the bounds: the limit of ``requests`` is one of silence, and each byte ends a silence."""
    content = b""
    try:
        # Not ``iter_content``, which is silent until it has as many bytes as it was asked for.
        while part := response.raw.read1(8_192, decode_content=True):
            content += part
            if len(content) > LARGEST:
                raise requests.RequestException(f"more than {LARGEST // 1024} KiB")
            if time.monotonic() > until:
                raise requests.Timeout("no whole answer in time")
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(first_line(error)) from error
    return content
