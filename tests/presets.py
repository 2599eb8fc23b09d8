"""The policies and the switch that migrations create, for tests that start with an emptied database."""

from __future__ import annotations

from importlib import import_module

from django.db import connection

from ratelimits.models import LimiterControl
from ratelimits.policies import policy_cache


def write() -> None:
    with connection.cursor() as cursor:
        cursor.execute(import_module("ratelimits.migrations.0004_presets").PRESETS)
        cursor.execute(import_module("ratelimits.migrations.0009_no_login_policy").REMOVE)
        cursor.execute(import_module("ratelimits.migrations.0010_check_quota").CHECK_QUOTA)
    LimiterControl.objects.get_or_create(pk=1)
    policy_cache.clear()
