"""A plain view that reads the JSON of ``POST /api/limits/check``, and answers as much as the console does."""

from __future__ import annotations

import json

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST


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


urlpatterns = [path("api/limits/check", check)]
