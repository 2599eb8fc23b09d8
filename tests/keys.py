"""API keys for tests, and the headers that send them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User

from ratelimits.keys import api_keys, operator_scopes
from ratelimits.models import ApiKey

ALL = ("jobs:write", "worker", "limits:check", "limits:free")
# Those of the operator's API, with which a key acts for the account that made it.
OPERATORS = tuple(map(str, operator_scopes.GRANTS))


def key(
    name: str = "shop",
    scopes: Iterable[str] = ALL,
    *,
    policy: str = "api-key",
    expires_at: datetime | None = None,
    succeeds: ApiKey | None = None,
    maker: User | None = None,
) -> tuple[ApiKey, str]:
    """Create a key as the admin does; return it with its secret text."""
    return api_keys.create(
        key_id=uuid4(),
        name=name,
        scopes=list(scopes),
        policy=policy,
        expires_at=expires_at,
        by="olga",
        reason="for the tests",
        succeeds=succeeds,
        maker=maker,
    )


def sent(text: str) -> dict[str, Any]:
    return {"Authorization": f"Bearer {text}"}
