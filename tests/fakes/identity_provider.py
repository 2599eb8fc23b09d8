"""A provider of OpenID Connect on loopback: discovery, keys, codes with PKCE, signed tokens, userinfo and log-out.

It checks what a provider must check, and its answers can be spoilt one by one, as an attacker or a fault would.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import requests
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT_ID, CLIENT_SECRET = "ops-console", "the secret of the client: & = %"
SESSION = "provider_session"
PAGE = """<!DOCTYPE html><html lang="en"><title>Provider</title><link rel="icon" href="data:,"><h1>Provider</h1>
<form method="post"><button type="submit">Sign in as {name}</button></form></html>"""


_GENERATING = threading.Lock()


def signing_key(number: int) -> RSAKey:
    """Return the key of this number, also to two threads that ask at once for one that is not generated yet."""
    with _GENERATING:
        return _generated(number)


@cache
def _generated(number: int) -> RSAKey:
    """Return a key; making one takes a while."""
    return RSAKey.generate_key(2048, {"kid": f"key-{number}", "use": "sig", "alg": "RS256"})


@dataclass
class Provider:
    """``claims`` are those of the person who signs in. The fields below them spoil the answers."""

    issuer: str
    claims: dict[str, Any] = field(
        default_factory=lambda: {
            "sub": "subject-1",
            "preferred_username": "ada",
            "email": "ada@example.com",
            "groups": ["console-viewers"],
        }
    )
    # The person must press a button, unless the browser has a session here.
    asks: bool = False
    # Claims of the ID token that are other ones; None: missing.
    changes: dict[str, Any] = field(default_factory=dict)
    document_changes: dict[str, Any] = field(default_factory=dict)
    # Claims that only userinfo tells.
    of_userinfo: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[Provider, dict[str, Any]], str] | None = None
    hangs: set[str] = field(default_factory=set)
    fails: dict[str, int] = field(default_factory=dict)
    key: int = 1
    asked: list[str] = field(default_factory=list)
    authorized: list[dict[str, str]] = field(default_factory=list)
    ended: list[dict[str, str]] = field(default_factory=list)
    tokens_sent: int = 0
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)
    # The authority of its certificate, where it has one of its own.
    authority: str | None = None

    def visit(self, address: str) -> str:
        """Open an address of the provider as a browser that has a session there; return where it is sent then."""
        answer = requests.get(address, allow_redirects=False, timeout=30, verify=self.authority or True)
        assert answer.status_code == 302, answer.text
        return str(answer.headers["Location"])

    def document(self) -> dict[str, Any]:
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/log-out",
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        } | self.document_changes
        return {name: value for name, value in found.items() if value is not None}

    def keys(self) -> dict[str, Any]:
        return {"keys": [signing_key(self.key).as_dict(private=False)]}

    def code(self, asked: dict[str, str]) -> str:
        """Return the address of the client with a code."""
        assert asked["response_type"] == "code" and asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256" and "openid" in asked["scope"].split()
        self.authorized.append(asked)
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def token(self, sent: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """Exchange a code once, for the client that has the secret and the verifier."""
        kind, _, credentials = authorization.partition(" ")
        name, _, secret = base64.b64decode(credentials).decode().partition(":")
        if kind != "Basic" or (unquote(name), unquote(secret)) != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(sent.get("code", ""), None)
        if asked is None or sent.get("redirect_uri") != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = self.claims | {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300}
        claims |= {"nonce": asked["nonce"]} | self.changes
        claims = {name: value for name, value in claims.items() if value is not None}
        self.tokens_sent += 1
        signed = (self.sign or Provider.signed)(self, claims)
        return 200, {"access_token": "access", "token_type": "Bearer", "id_token": signed}

    def signed(self, claims: dict[str, Any]) -> str:
        key = signing_key(self.key)
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)

    def end(self, asked: dict[str, str]) -> str:
        """End a session; return where the browser goes."""
        self.ended.append(asked)
        return f"{asked['post_logout_redirect_uri']}?{urlencode({'state': asked['state']})}"


def unsigned(_: Provider, claims: dict[str, Any]) -> str:
    """Sign with the algorithm none."""
    return ".".join([*(_encoded(each) for each in ({"alg": "none"}, claims)), ""])


def signed_with_secret(_: Provider, claims: dict[str, Any]) -> str:
    """Sign with the client's secret, which the client knows as well."""
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET), algorithms=["HS256"])


def signed_with_public_key(provider: Provider, claims: dict[str, Any]) -> str:
    """Sign with the published key as if it were a secret."""
    public = signing_key(provider.key).as_pem(private=False)
    head = ".".join(_encoded(each) for each in ({"alg": "HS256", "kid": f"key-{provider.key}"}, claims))
    digest = hmac.new(public, head.encode(), "sha256").digest()
    return f"{head}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def signed_by_another(_: Provider, claims: dict[str, Any]) -> str:
    """Sign with a key of the same name that the provider never published."""
    other = RSAKey.import_key(signing_key(99).as_dict(private=True) | {"kid": "key-1"})
    return jwt.encode({"alg": "RS256", "kid": "key-1"}, claims, other)


def signed_with_unknown_key(_: Provider, claims: dict[str, Any]) -> str:
    """Sign with a key that the provider never published."""
    return jwt.encode({"alg": "RS256", "kid": "key-99"}, claims, signing_key(99))


def _encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class Handler(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"] or 0)))

    def _answer(self, body: bytes) -> None:
        provider, parts = self.provider, urlsplit(self.path)
        provider.asked.append(parts.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path in provider.hangs:
            provider.closing.wait(60)
            self.close_connection = True
            return
        if parts.path in provider.fails:
            self._send(provider.fails[parts.path], {"error": "server_error"})
            return
        match parts.path:
            case "/.well-known/openid-configuration":
                self._send(200, provider.document())
            case "/keys":
                self._send(200, provider.keys())
            case "/authorize":
                self._authorize(asked)
            case "/token":
                sent = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                self._send(*provider.token(sent, self.headers.get("Authorization", "")))
            case "/userinfo":
                self._send(200, {"sub": provider.claims["sub"]} | provider.of_userinfo)
            case "/log-out":
                self._redirect(provider.end(asked), f"{SESSION}=; Max-Age=0; Path=/")
            case _:
                self._send(404, {})

    def _authorize(self, asked: dict[str, str]) -> None:
        has_session = SESSION in SimpleCookie(self.headers.get("Cookie", ""))
        if self.provider.asks and self.command == "GET" and not has_session:
            page = PAGE.format(name=self.provider.claims["preferred_username"]).encode()
            self._send_bytes(200, page, "text/html")
            return
        self._redirect(self.provider.code(asked), f"{SESSION}=1; Path=/")

    def _redirect(self, address: str, cookie: str) -> None:
        self.send_response(302)
        self.send_header("Location", address)
        self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, status: int, value: dict[str, Any]) -> None:
        self._send_bytes(status, json.dumps(value).encode(), "application/json")

    def _send_bytes(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serve(certificate: Path | None = None, key: Path | None = None) -> Iterator[Provider]:
    """Serve a provider on loopback, with TLS where there is a certificate for ``localhost``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    server.daemon_threads = True
    provider = Provider(f"{scheme}://localhost:{server.server_port}")
    provider.authority = str(certificate) if certificate else None
    server.RequestHandlerClass = type("Bound", (Handler,), {"provider": provider})
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield provider
    finally:
        provider.closing.set()
        server.shutdown()
        server.server_close()
