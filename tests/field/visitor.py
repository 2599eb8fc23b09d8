"""A person or program that speaks HTTPS to the console over one kept connection, and keeps its cookies."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

from tests.field.proxy import HOST, Proxy

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


@dataclass(frozen=True)
class Answer:
    """A response whose body was read whole."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Visitor(closing["Visitor"]):
    """A client of one console; ``with`` closes its connection."""

    def __init__(self, proxy: Proxy, *, address: str = "127.0.0.1", around_the_proxy: bool = False) -> None:
        """Connect from this address of the loopback network, to the proxy or directly to the console."""
        super().__init__(self)
        self.proxy = proxy
        self.cookies: dict[str, str] = {}
        self.connection: http.client.HTTPConnection
        if around_the_proxy:
            self.connection = http.client.HTTPConnection(
                "127.0.0.1", proxy.console, timeout=60, source_address=(address, 0)
            )
        else:
            self.connection = http.client.HTTPSConnection(
                HOST, proxy.port, timeout=60, context=proxy.context(), source_address=(address, 0)
            )

    @property
    def socket(self) -> socket.socket | None:
        """Return the connection's socket: the same one as long as the connection is kept."""
        return self.connection.sock

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {"Referer": self.proxy.address + path, "Host": f"{HOST}:{self.proxy.port}"} | dict(
            headers or {}
        )
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self.connection.request(method, path, body, sent)
        response = self.connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        self._keep(answer)
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, fields: Mapping[str, Any], **headers: str) -> Answer:
        """Send a form with the CSRF token of the page at this address."""
        found = TOKEN.search(self.get(path, **headers).text)
        token = {"csrfmiddlewaretoken": found[1]} if found else {}
        return self.ask("POST", path, urlencode(token | dict(fields), doseq=True), FORM | headers)

    def log_in(self, name: str, password: str, **headers: str) -> Answer:
        fields = {"username": name, "password": password, "next": "/admin/"}
        return self.post("/admin/login/", fields, **headers)

    def api(self, method: str, path: str, key: str, body: object = None) -> Answer:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        return self.ask(method, path, None if body is None else json.dumps(body), headers)

    def close(self) -> None:
        self.connection.close()

    def _keep(self, answer: Answer) -> None:
        for line in answer.headers.get_all("Set-Cookie") or []:
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
