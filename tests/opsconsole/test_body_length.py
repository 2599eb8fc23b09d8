"""Bodies in chunks, over the shipped server and over one that passes chunks on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests import presets
from tests.keys import key, sent
from tests.serving import gunicorn, uvicorn

pytestmark = pytest.mark.django_db(transaction=True)

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CHECK = json.dumps({"policy": "standard", "identity": "a"}).encode()
LOGIN = urlencode({"username": "olga", "password": "x"}).encode()


@pytest.mark.parametrize(
    ("serve", "api", "form"),
    [(gunicorn, 200, 403), (uvicorn, 411, 411)],
    ids=["put-together", "passed-on"],
)
def test_body_in_chunks_is_read_or_refused_but_never_empty(
    serve: Callable[[Path], AbstractContextManager[int]], api: int, form: int, limiter: None, tmp_path: Path
) -> None:
    """An empty body would be answered with 400 by the API; the form lacks its token, which is told only when it is read."""
    presets.write()
    headers = sent(key("shop")[1]) | {"Content-Type": "application/json"}
    with serve(tmp_path) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for path, body, given, expected in (
            ("/api/limits/check", CHECK, headers, api),
            ("/admin/login/", LOGIN, FORM, form),
        ):
            client.request("POST", path, iter([body[:5], body[5:]]), given, encode_chunked=True)
            answer = client.getresponse()
            text = answer.read()
            assert answer.status == expected, text
            assert int(answer.headers["Content-Length"]) == len(text)
            if expected == 411:
                assert b"Content-Length" in text
        client.close()
