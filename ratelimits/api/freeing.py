"""The route that frees one client of another service, or of the console."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema
from pydantic import ConfigDict

from opsconsole.kit import audit
from opsconsole.kit.api_text import Identifier
from opsconsole.kit.problems import Problem
from ratelimits.api.schemas import PolicyName
from ratelimits.engine.forgotten_counts import FreeUnconfirmed, StoreAway
from ratelimits.keys import api_keys
from ratelimits.requests import freed_clients

router = Router(tags=["For other services"])


class FreeRequest(Schema):
    model_config = ConfigDict(extra="forbid")

    client: Identifier = Field(
        examples=["check:address:203.0.113.7"],
        description=(
            "The client's key as the page *Limited requests* shows it. Clients counted by `limits/check` begin with `check:`; "
            "`address:`, `user:` and `key:` are the console's own."
        ),
    )
    policy: PolicyName | None = Field(
        default=None, examples=["standard"], description="Only under this policy. Left out: under all."
    )
    reason: Identifier = Field(examples=["their import is done"], description="Stored in the audit.")


class FreeResponse(Schema):
    client: str = Field(examples=["check:address:203.0.113.7"])
    freed: dict[str, int] = Field(
        examples=[{"standard": 100}],
        description="The requests that were forgotten, by policy; empty if the client had used nothing.",
    )


@router.post(
    "limits/free",
    response=FreeResponse,
    operation_id="free_client",
    summary="Forget what a client used, so that its next request is allowed",
)
def free_client(request: HttpRequest, wanted: FreeRequest) -> Any:
    """Every process of the console lets the client's next request through within two seconds.

    A denied network stays denied. 503 with `reason` `store_away`: the store does not answer, and nothing was freed; with `outcome`
    `unknown` beside it, the store was told to forget what the client used and did not confirm it. Asking again is safe.
    """
    by = f"the API key {api_keys.authenticate(request)}"
    try:
        freed = freed_clients.free(
            wanted.client,
            policy=wanted.policy or "",
            account=audit.account_of(audit.PROGRAM),
            by=by,
            reason=wanted.reason,
            actor=by,
        )
    except StoreAway as error:
        outcome = {"outcome": "unknown"} if isinstance(error, FreeUnconfirmed) else {}
        headers = {"Retry-After": "5"}
        raise Problem(503, str(error), reason="store_away", headers=headers, **outcome) from error
    return {
        "client": freed_clients.key_of(wanted.client),
        "freed": {each.policy: each.requests for each in freed},
    }
