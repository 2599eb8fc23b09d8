"""Principals: for whom an API key of the operator's API acts, and what it may do now."""

from __future__ import annotations

from functools import partial

from django.contrib.auth.models import User
from django.http import HttpRequest

from opsconsole.kit.principal import Principal
from opsconsole.kit.problems import Problem
from ratelimits.keys import api_keys
from ratelimits.models import ApiKey

NO_MAKER = "the account that made it"


def principal_of(key: ApiKey, request: HttpRequest) -> Principal:
    """Return for whom this key acts. Raise ``Problem`` when its maker may no longer log in to the console."""
    may_log_in = User.objects.filter(is_active=True, is_staff=True)
    maker = may_log_in.filter(pk=key.maker_id).first() if key.maker_id else None
    if maker is None:
        api_keys.refuse_scope(request, NO_MAKER)
        raise Problem(
            403,
            "This API key acts for the account that made it, which may no longer log in to the console. Nothing was changed. "
            "Ask an administrator for another key.",
            reason="maker",
        )
    note = partial(api_keys.refuse_scope, request)
    return Principal(str(key), maker, frozenset(key.scopes), frozenset(key.permissions), note)
