"""The decision for a client of another service, and the quota of the key that asks for it.

The quota is no limit of anybody's clients. Both are decided in one round trip, and count together or not at all: a refused
client costs the key nothing, and a key without quota costs no client anything.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from opsconsole.kit.problems import Problem
from ratelimits.engine import store
from ratelimits.engine.decision import Decision, Outcome
from ratelimits.identity import caller, client_ip
from ratelimits.policies.policy_snapshot import CHECK_QUOTA, OFF, PolicySnapshot
from ratelimits.records import recording
from ratelimits.requests import limiting

ROUTE = "/api/limits/check"
# No other answer of the console has this type: it is neither a refusal of the client nor a failure.
EXCEEDED = "urn:opsconsole:check-quota-exceeded"


def decide(request: HttpRequest, policy: str, identity: str, cost: int) -> Decision:
    """Count ``cost`` requests of another service's client, and the same number under the quota of the request's key.

    Raise ``Problem`` if the key has no quota left, ``UnknownPolicy`` or ``CostAboveLimit``.
    """
    limiting.begin(request)
    asked, quota = _asked(policy, cost), store.affordable(CHECK_QUOTA, cost)
    address = client_ip.client_address(request.META)
    key = caller.identify(request, quota.key, address)
    if quota.mode == OFF or quota.exempts(address):
        return store.check(asked, identity, cost=cost)
    if quota.denies(address):
        raise Problem(
            403, "The rate limit policy of this route denies your address.", reason="denied_address"
        )
    decisions = store.check_all([asked, quota], [identity, key.value], cost=cost)
    about_client = next((each for each in decisions if each.snapshot is asked), None)
    about_key = next((each for each in decisions if each.snapshot is quota), None)
    if about_client and not about_client.allowed:
        return about_client
    if about_key and not about_key.allowed:
        recording.note(quota.name, key.value, ROUTE, "POST", Outcome.LIMITED)
        raise _exceeded(about_key, asked, store.remaining(asked, identity))
    if about_key:
        limiting.add(request, about_key, key)
    return about_client or decisions[0]


def _asked(name: str, cost: int) -> PolicySnapshot:
    if name == CHECK_QUOTA:
        raise Problem(422, f"The policy '{CHECK_QUOTA}' counts API keys. Name a policy for your clients.")
    return store.affordable(name, cost)


def _exceeded(quota: Decision, asked: PolicySnapshot, remaining: int | None) -> Problem:
    """Say that nothing was decided, and what a service needs to count by itself meanwhile."""
    client: dict[str, Any] = {"policy": asked.name, "limit": asked.limit, "window": asked.window}
    seconds = max(1, quota.retry_after)
    return Problem(
        503,
        f"This API key has used its quota for this route: {quota.limit:,} requests of clients in {quota.window:,} seconds. "
        "Nothing was decided about the client, and nothing was counted.",
        headers={"Retry-After": str(seconds)},
        type=EXCEEDED,
        reason="check_quota",
        retryAfter=seconds,
        client=client | ({} if remaining is None else {"remaining": remaining}),
    )
