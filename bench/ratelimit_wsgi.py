"""The application that gunicorn serves; a request header names the client address for all candidates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    environ["REMOTE_ADDR"] = environ.get("HTTP_X_BENCH_ADDRESS", environ["REMOTE_ADDR"])
    return _django(environ, start_response)
