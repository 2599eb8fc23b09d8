"""What a provider says in its logout tokens."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

from tests.fakes.identity_provider import CLIENT_ID, Provider

EVENT = "http://schemas.openid.net/event/backchannel-logout"


def claims(provider: Provider, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    usual = {"iss": provider.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": str(uuid4())}
    told = usual | {"events": {EVENT: {}}, "sub": "subject-1"} | changes
    return {name: value for name, value in told.items() if value is not None}
