"""Plain views that read the JSON of ``POST /api/limits/check``, and answer as much as the console does.

``asking`` also asks Valkey what the console asks for it, over the limiter's own connections. No limiter
that asks once takes less.
"""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from redis.exceptions import NoScriptError

from ratelimits.engine import script
from ratelimits.engine.connections import Connections
from ratelimits.engine.store_client import Script, Store

_script = Script(script.source())


@csrf_exempt
@require_POST
def check(request: HttpRequest) -> JsonResponse:
    asked = json.loads(request.body)
    return JsonResponse(
        {
            "allowed": True,
            "status": 200,
            "policy": asked["policy"],
            "limit": 100,
            "window": 60,
            "remaining": 99,
            "reset": 60,
            "retry_after": 0,
            "degraded": False,
            "headers": {"RateLimit-Policy": '"standard";q=100;w=60', "RateLimit": '"standard";r=99;t=60'},
            "body": None,
        }
    )


@csrf_exempt
@require_POST
def asking(request: HttpRequest) -> JsonResponse:
    client = json.loads(request.body)["identity"]
    # The client's policy and the quota of the key, as the console asks for both.
    names = f"rl:standard:plain:{client}", "rl:limits-check:plain", "rl:(generation)"
    counted: list[Any] = ["moving", 100, 60, "1", 0, 0, 0, "moving", 10_000_000, 60, "1", 0, 0, 0]
    connections = _connections()
    [answer] = connections.exchange((b"EVALSHA", _script.sha, len(names), *names, 1, 0, *counted))
    if isinstance(answer, NoScriptError):
        connections.exchange((b"EVAL", _script.text, len(names), *names, 1, 0, *counted))
    return check(request)


@cache
def _connections() -> Connections:
    return Store(settings.OPSCONSOLE_RATE_LIMIT_STORE or "").connections


urlpatterns = [path("api/limits/check", asking if os.environ["BENCH_VIEW"] in {"asking", "both"} else check)]
